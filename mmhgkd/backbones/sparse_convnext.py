from typing import Any

from mmpretrain.models.backbones import ConvNeXt

from mmhgkd.registry import MODELS

from .sparse_network import SparseNetwork


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
        backend (str): How sparse features are held and computed, 'masked' or
            'packed'. Defaults to 'packed'.
        out_indices (tuple[int]): Stages whose features are returned.
            Defaults to (0, 1, 2, 3), of strides 4, 8, 16 and 32.
        **kwargs: Other arguments of mmpretrain's ``ConvNeXt``. Feature maps
            are always returned, not their means.

    Raises:
        ConfigError: If the backend is unknown, or a layer has no sparse form.
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
