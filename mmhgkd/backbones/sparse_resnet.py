from typing import Any

from mmpretrain.models.backbones import ResNet
from torch import Tensor

from mmhgkd.masks import UnitMask
from mmhgkd.registry import MODELS
from mmhgkd.sparse import SparseFeature, ZeroFilledFeature
from mmhgkd.sparse.layers import apply_layer, norm_act, sparse_form

from .sparse_blocks import SparseBasicBlock, SparseBottleneck
from .sparse_network import SparseNetwork


@MODELS.register_module()
class SparseResNet(SparseNetwork, ResNet):
    """ResNet that sees only the visible units of a masked image.

    With a mask it computes what SparK's sparse convolution computes: an
    output exists where the downsampled mask is visible, and the batch
    statistics are those of the visible positions. Without a mask it is
    mmpretrain's ``ResNet``, whose state dict it shares key for key.

    Args:
        depth (int): Network depth, from {18, 34, 50, 101, 152}.
        backend (str): How sparse features are held and computed:
            'packed' (one matrix of the visible positions), 'packed_torch'
            (the same without the Triton kernels), 'masked' (dense maps
            times the mask) or 'spconv' (the package of that name, on a GPU,
            to compare with). 'zero_filled' is not sparse: the dense
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
        self.make_sparse(backend)

    def sparse_forward(
        self: Any, feature: SparseFeature
    ) -> tuple[SparseFeature, ...]:
        """Forward of the sparse network, from the visible pixels."""
        if self.deep_stem:
            feature = apply_layer(feature, self.stem)
        else:
            feature = apply_layer(feature, self.conv1)
            feature = norm_act(feature, self.norm1, self.relu)
        feature = apply_layer(feature, self.maxpool)
        features = []
        for index, name in enumerate(self.res_layers):
            for block in getattr(self, name):
                feature = block(feature)
            if index in self.out_indices:
                features.append(feature)
        return tuple(features)

    def whole_forward(
        self, x: Tensor, mask: UnitMask
    ) -> tuple[SparseFeature, ...]:
        """Forward of the dense network, where a mask hides nothing."""
        if not self.has_sparse_forms:
            return super().whole_forward(x, mask)
        # Its layers, with drop path and sum of a block in one step.
        return self.sparse_forward(ZeroFilledFeature(x, mask))

    def _record(self: Any) -> None:
        layers = (x for x in self.modules() if not any(x.children()))
        self.has_sparse_forms = all(map(sparse_form, layers))
        # Its blocks are written by hand, with steps that may be fused.
        channels, strides, stride = [], [], 4
        for index, name in enumerate(self.res_layers):
            stride *= self.strides[index]
            if index in self.out_indices:
                channels.append(getattr(self, name)[-1].out_channels)
                strides.append(stride)
        self.feature_channels = tuple(channels)
        self.feature_strides = tuple(strides)
