from typing import Any

from mmpretrain.models.backbones import EfficientNet

from mmhgkd.registry import MODELS

from .sparse_network import SparseNetwork


@MODELS.register_module()
class SparseEfficientNet(SparseNetwork, EfficientNet):
    """EfficientNet that sees only the visible units of a masked image.

    Without a mask it is mmpretrain's ``EfficientNet``, whose state dict it
    shares key for key, with its padding "same". Squeeze-excite takes the mean
    of the visible positions.

    Args:
        arch (str): 'b0' to 'b8', 'l2', 'es', 'em' or 'el'. Defaults to 'b0'.
        backend (str): How sparse features are held and computed, 'masked' or
            'packed'. Defaults to 'packed'.
        out_indices (tuple[int]): Stages whose features are returned.
            Defaults to (2, 3, 4, 6), of strides 4, 8, 16 and 32 and, for
            'b0', of (24, 40, 112, 1280) channels. The last one is the layer
            before the classifier, so that all layers are trained.
        norm_cfg (dict, optional): Config of the norm layers. Defaults to
            None, which means mmpretrain's, synchronized over ranks.
        **kwargs: Other arguments of mmpretrain's ``EfficientNet``.

    Raises:
        ConfigError: If the backend is unknown, or a layer has no sparse form.
    """

    def __init__(
        self,
        arch: str = 'b0',
        backend: str = 'packed',
        out_indices: tuple[int, ...] = (2, 3, 4, 6),
        norm_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            arch,
            out_indices=out_indices,
            norm_cfg=norm_cfg
            or dict(type='mmhgkd.DistributedBatchNorm', eps=1e-3),
            **kwargs,
        )
        self.make_sparse(backend)
