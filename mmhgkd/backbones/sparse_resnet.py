from typing import Any

from mmpretrain.models.backbones import ResNet
from torch import Tensor, nn

from mmhgkd.masks import UnitMask
from mmhgkd.registry import MODELS
from mmhgkd.sparse import SparseFeature

from .backends import BACKENDS, check_backend
from .sparse_blocks import SparseBasicBlock, SparseBottleneck
from .sync_norms import synchronize_norms


@MODELS.register_module()
class SparseResNet(ResNet):
    """ResNet that sees only the visible units of a masked image.

    With a mask it computes what SparK's sparse convolution computes: an
    output exists where the downsampled mask is visible, and the batch
    statistics are those of the visible positions. Without a mask it is
    mmpretrain's ``ResNet``, whose state dict it shares key for key.

    Args:
        depth (int): Network depth, from {18, 34, 50, 101, 152}.
        backend (str): How sparse features are held and computed:
            'packed' (one matrix of the visible positions), 'masked' (dense
            maps times the mask) or 'spconv' (the package of that name, on
            a GPU, to compare with). 'zero_filled' is not sparse: the dense
            network sees zeros at masked places. Defaults to 'packed'.
        out_indices (tuple[int]): Stages whose features are returned.
            Defaults to (0, 1, 2, 3).
        norm_cfg (dict, optional): Config of the norm layers. Defaults to
            None, which means batch norm synchronized over ranks.
        **kwargs: Other arguments of mmpretrain's ``ResNet``.

    Raises:
        ConfigError: If the backend is unknown or its package is missing.
    """

    arch_settings = {
        depth: (SparseBasicBlock if depth < 50 else SparseBottleneck, stages)
        for depth, (_, stages) in ResNet.arch_settings.items()
    }

    def __init__(
        self,
        depth: int,
        backend: str = 'packed',
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
        norm_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            depth,
            out_indices=out_indices,
            norm_cfg=norm_cfg or dict(type='mmhgkd.DistributedBatchNorm'),
            **kwargs,
        )
        check_backend(backend, self)
        synchronize_norms(self, nn.SyncBatchNorm)
        self.backend = backend

    def forward(
        self, x: Tensor, mask: UnitMask | None = None
    ) -> tuple[Tensor, ...] | tuple[SparseFeature, ...]:
        """Compute the feature maps of the chosen stages.

        Args:
            x (Tensor): Images, ``(B, 3, H, W)``.
            mask (UnitMask, optional): Visible units. Defaults to None, which
                means the dense network.

        Returns:
            tuple[Tensor] or tuple[SparseFeature]: One item a stage, dense
            without a mask, sparse with one.
        """
        if mask is None:
            return super().forward(x)
        feature = self._stem(BACKENDS[self.backend].from_images(x, mask))
        features = []
        for index, name in enumerate(self.res_layers):
            for block in getattr(self, name):
                feature = block(feature)
            if index in self.out_indices:
                features.append(feature)
        return tuple(features)

    def _stem(self, feature: SparseFeature) -> SparseFeature:
        if self.deep_stem:
            feature = feature.apply(self.stem)
        else:
            feature = feature.apply(self.conv1).norm_act(self.norm1, self.relu)
        return feature.apply(self.maxpool)
