from typing import Any

from mmpretrain.models.backbones import MobileNetV3

from mmhgkd.registry import MODELS

from .sparse_network import SparseNetwork


@MODELS.register_module()
class SparseMobileNetV3(SparseNetwork, MobileNetV3):
    """MobileNetV3 that sees only the visible units of a masked image.

    Without a mask it is mmpretrain's ``MobileNetV3``, whose state dict it
    shares key for key. Squeeze-excite takes the mean of the visible
    positions.

    Args:
        arch (str): 'small', 'small_075', 'small_050' or 'large'. Defaults to
            'small'.
        backend (str): How sparse features are held and computed, 'masked' or
            'packed'. Defaults to 'packed'.
        out_indices (tuple[int], optional): Layers whose features are
            returned. Defaults to None, which means the last of the strides 4,
            8, 16 and 32: (1, 3, 8, 12) of (16, 24, 48, 576) channels for
            'small', (3, 6, 12, 16) of (24, 40, 112, 960) for 'large'.
        norm_cfg (dict, optional): Config of the norm layers. Defaults to
            None, which means mmpretrain's, synchronized over ranks.
        **kwargs: Other arguments of mmpretrain's ``MobileNetV3``.

    Raises:
        ConfigError: If the backend is unknown, or a layer has no sparse form.
    """

    def __init__(
        self,
        arch: str = 'small',
        backend: str = 'packed',
        out_indices: tuple[int, ...] | None = None,
        norm_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if out_indices is None:
            out_indices = (3, 6, 12, 16) if arch == 'large' else (1, 3, 8, 12)
        super().__init__(
            arch,
            out_indices=out_indices,
            norm_cfg=norm_cfg
            or dict(
                type='mmhgkd.DistributedBatchNorm', eps=1e-3, momentum=0.01
            ),
            **kwargs,
        )
        self.make_sparse(backend)
