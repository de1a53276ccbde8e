"""Forms of timm's layers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from timm import layers
from timm.layers import activations
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


TIMM_FORMS: dict[type, SparseForm] = {
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
