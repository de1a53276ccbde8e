"""Networks of mmpretrain as sparse students.

Each raises a ``ConfigError`` if the backend is unknown or its package is
missing, or if a layer has no sparse form.
"""

from typing import Any

from mmpretrain.models.backbones import (
    ConvNeXt,
    EfficientNet,
    MobileNetV2,
    MobileNetV3,
)

from mmhgkd.registry import MODELS

from .sparse_network import SparseNetwork

__all__ = [
    'SparseConvNeXt',
    'SparseEfficientNet',
    'SparseMobileNetV2',
    'SparseMobileNetV3',
]


@MODELS.register_module()
class SparseConvNeXt(SparseNetwork, ConvNeXt):
    """ConvNeXt V1 and V2 that see only the visible units of a masked image.

    Without a mask it is mmpretrain's ``ConvNeXt``, whose state dict it shares
    key for key. ConvNeXt V2 is ``use_grn=True, layer_scale_init_value=0.``;
    its response normalization spans the visible positions of each image.

    The channels of the four features are those of the ``arch``: (96, 192,
    384, 768) for 'tiny', see ``feature_channels``.

    Args:
        arch (str or dict): Architecture, see ``ConvNeXt``. Defaults to
            'tiny'.
        backend (str): See :class:`SparseResNet`. Defaults to 'packed'.
        out_indices (tuple[int]): Stages whose features are returned.
            Defaults to (0, 1, 2, 3), of strides 4, 8, 16 and 32.
        **kwargs: Other arguments of mmpretrain's ``ConvNeXt``. Feature maps
            are always returned, not their means.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        backend: str = 'packed',
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            arch,
            out_indices=out_indices,
            gap_before_final_norm=False,
            **kwargs,
        )
        self.make_sparse(backend)


@MODELS.register_module()
class SparseEfficientNet(SparseNetwork, EfficientNet):
    """EfficientNet that sees only the visible units of a masked image.

    Without a mask it is mmpretrain's ``EfficientNet``, whose state dict it
    shares key for key, with its padding "same". Squeeze-excite takes the mean
    of the visible positions.

    Args:
        arch (str): 'b0' to 'b8', 'l2', 'es', 'em' or 'el'. Defaults to 'b0'.
        backend (str): See :class:`SparseResNet`. Defaults to 'packed'.
        out_indices (tuple[int]): Stages whose features are returned.
            Defaults to (2, 3, 4, 6), of strides 4, 8, 16 and 32 and, for
            'b0', of (24, 40, 112, 1280) channels. The last one is the layer
            before the classifier, so that all layers are trained.
        norm_cfg (dict, optional): Config of the norm layers. Defaults to
            None, which means mmpretrain's, synchronized over ranks.
        **kwargs: Other arguments of mmpretrain's ``EfficientNet``.
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


@MODELS.register_module()
class SparseMobileNetV2(SparseNetwork, MobileNetV2):
    """MobileNetV2 that sees only the visible units of a masked image.

    Without a mask it is mmpretrain's ``MobileNetV2``, whose state dict it
    shares key for key.

    Args:
        widen_factor (float): Multiplier of the channels. Defaults to 1.0.
        backend (str): See :class:`SparseResNet`. Defaults to 'packed'.
        out_indices (tuple[int]): Stages whose features are returned.
            Defaults to (1, 2, 4, 7), of strides 4, 8, 16 and 32 and, at width
            1.0, of (24, 32, 96, 1280) channels. The last one is the layer
            before the classifier, so that all layers are trained.
        norm_cfg (dict, optional): Config of the norm layers. Defaults to
            None, which means batch norm synchronized over ranks.
        **kwargs: Other arguments of mmpretrain's ``MobileNetV2``.
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


@MODELS.register_module()
class SparseMobileNetV3(SparseNetwork, MobileNetV3):
    """MobileNetV3 that sees only the visible units of a masked image.

    Without a mask it is mmpretrain's ``MobileNetV3``, whose state dict it
    shares key for key. Squeeze-excite takes the mean of the visible
    positions.

    Args:
        arch (str): 'small', 'small_075', 'small_050' or 'large'. Defaults to
            'small'.
        backend (str): See :class:`SparseResNet`. Defaults to 'packed'.
        out_indices (tuple[int], optional): Layers whose features are
            returned. Defaults to None, which means the last of the strides 4,
            8, 16 and 32: (1, 3, 8, 12) of (16, 24, 48, 576) channels for
            'small', (3, 6, 12, 16) of (24, 40, 112, 960) for 'large'.
        norm_cfg (dict, optional): Config of the norm layers. Defaults to
            None, which means mmpretrain's, synchronized over ranks.
        **kwargs: Other arguments of mmpretrain's ``MobileNetV3``.
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
