"""Forms of timm's layers; none where timm, an optional extra, is missing."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from torch import nn

from .forms import (
    CONV,
    MAP,
    MAP_ANY,
    NORM,
    SparseForm,
    drop_path,
    layer_norm,
)

if TYPE_CHECKING:
    from .sparse_feature import SparseFeature

TIMM_FORMS: dict[type, SparseForm] = {}
TIMM_SAME_PADDED: tuple[type, ...] = ()


def norm_act(
    norm: 'Callable[[SparseFeature, Any], SparseFeature]',
) -> 'Callable[[SparseFeature, Any], SparseFeature]':
    """Form of timm's norm layers, which hold an activation."""

    def apply(feature: 'SparseFeature', module: nn.Module) -> 'SparseFeature':
        feature = norm(feature, module)
        for name in ('drop', 'act'):
            # timm's synchronized form lacks them where they do nothing.
            part = getattr(module, name, None)
            if part is not None:
                feature = feature.apply(part)
        return feature

    return apply


if find_spec('timm') is not None:
    from timm import layers
    from timm.layers import activations

    TIMM_SAME_PADDED = (layers.Conv2dSame,)
    TIMM_FORMS = {
        layers.Conv2dSame: CONV,
        layers.BatchNormAct2d: SparseForm(norm_act(NORM.apply)),
        layers.SyncBatchNormAct: SparseForm(norm_act(NORM.apply)),
        layers.LayerNorm: SparseForm(layer_norm, 'last'),
        layers.LayerNorm2d: SparseForm(layer_norm),
        layers.LayerNormAct2d: SparseForm(norm_act(layer_norm)),
        layers.DropPath: SparseForm(drop_path, 'any'),
        activations.PReLU: MAP,
        **dict.fromkeys(
            (
                activations.Swish,
                activations.Mish,
                activations.Sigmoid,
                activations.Tanh,
                activations.HardSwish,
                activations.HardSigmoid,
                activations.HardMish,
                activations.GELU,
                activations.GELUTanh,
                activations.QuickGELU,
            ),
            MAP_ANY,
        ),
    }
