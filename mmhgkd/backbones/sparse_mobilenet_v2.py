from typing import Any

from mmpretrain.models.backbones import MobileNetV2

from mmhgkd.registry import MODELS

from .sparse_network import SparseNetwork


@MODELS.register_module()
class SparseMobileNetV2(SparseNetwork, MobileNetV2):
    """MobileNetV2 that sees only the visible units of a masked image.

    Without a mask it is mmpretrain's ``MobileNetV2``, whose state dict it
    shares key for key.

    Args:
        widen_factor (float): Multiplier of the channels. Defaults to 1.0.
        backend (str): How sparse features are held and computed, 'masked' or
            'packed'. Defaults to 'packed'.
        out_indices (tuple[int]): Stages whose features are returned.
            Defaults to (1, 2, 4, 7), of strides 4, 8, 16 and 32 and, at width
            1.0, of (24, 32, 96, 1280) channels. The last one is the layer
            before the classifier, so that all layers are trained.
        norm_cfg (dict, optional): Config of the norm layers. Defaults to
            None, which means batch norm synchronized over ranks.
        **kwargs: Other arguments of mmpretrain's ``MobileNetV2``.

    Raises:
        ConfigError: If the backend is unknown, or a layer has no sparse form.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        backend: str = 'packed',
        out_indices: tuple[int, ...] = (1, 2, 4, 7),
        norm_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            widen_factor,
            out_indices=out_indices,
            norm_cfg=norm_cfg or dict(type='mmhgkd.DistributedBatchNorm'),
            **kwargs,
        )
        self.make_sparse(backend)
