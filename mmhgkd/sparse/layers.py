"""How the layers of dense networks are applied to sparse features."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import (
    Conv2dAdaptivePadding,
    DropPath,
    HSigmoid,
    HSwish,
    Swish,
)
from mmpretrain.models.utils.norm import LayerNorm2d
from timm import layers as timm_layers
from timm.layers import activations as timm_activations
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batch_norm import DistributedBatchNorm, DistributedBatchNormAct
from .sparse_feature import NoSparseForm, SparseFeature
from .transposed import transposed_conv

__all__ = [
    'NORM',
    'SparseForm',
    'apply_layer',
    'forward_class',
    'norm_act',
    'sparse_form',
]


class SparseForm(NamedTuple):
    """How a dense layer is applied to a sparse feature.

    Args:
        apply (Callable): Takes the feature and the layer.
        layout (str): Layout of the dense maps that the layer takes: 'first'
            or 'last' (where the channels are), 'any', or 'argument' (an
            argument ``data_format`` says it).
    """

    apply: Callable[[SparseFeature, Any], SparseFeature]
    layout: Literal['first', 'last', 'any', 'argument'] = 'first'


def sparse_form(module: nn.Module) -> SparseForm | None:
    """Sparse form of a layer, None for one that has none.

    The class that defines ``forward`` decides: a subclass that overrides it,
    such as a convolution with standardized weights, is another layer.
    """
    return _FORMS.get(forward_class(module))


def forward_class(module: nn.Module) -> type:
    """Class that defines what a module computes."""
    classes = type(module).__mro__
    return next(cls for cls in classes if 'forward' in vars(cls))


def apply_layer(feature: SparseFeature, module: nn.Module) -> SparseFeature:
    """Apply a dense layer, or a plain sequence of layers, sparsely.

    Raises:
        NoSparseForm: If the layer has no sparse form.
    """
    if type(module).forward is nn.Sequential.forward:
        for child in module.children():
            feature = apply_layer(feature, child)
        return feature
    if type(module).forward is ConvModule.forward:
        return _conv_module(feature, module)
    form = sparse_form(module)
    if form is None:
        raise NoSparseForm(f'{type(module).__name__} has no sparse form')
    return form.apply(feature, module)


def norm_act(
    feature: SparseFeature,
    norm: nn.Module,
    act: nn.Module,
    residual: SparseFeature | None = None,
    drop_path: nn.Module | None = None,
) -> SparseFeature:
    """Normalize, add a residual and activate: a step that may be fused.

    Args:
        feature (SparseFeature): The feature.
        norm (nn.Module): The norm layer.
        act (nn.Module): The activation.
        residual (SparseFeature, optional): Feature that is added before the
            activation. Defaults to None.
        drop_path (nn.Module, optional): Stochastic depth of what is
            normalized, without the residual. Defaults to None.
    """
    kept = None
    if drop_path is not None and not isinstance(drop_path, nn.Identity):
        kept, scale = _kept_images(feature, drop_path)
    factor = None if kept is None else kept * scale
    fused = feature.fused_norm_act(norm, act, residual, factor)
    if fused is not None:
        return fused
    feature = apply_layer(feature, norm)
    if kept is not None:
        feature = feature.scale_images(kept, residual, scale)
    elif residual is not None:
        feature = feature.add(residual)
    return apply_layer(feature, act)


def _conv_module(feature: SparseFeature, module: ConvModule) -> SparseFeature:
    if module.with_explicit_padding or module.with_spectral_norm:
        raise NoSparseForm(
            'ConvModule has no sparse form with a padding layer or spectral '
            'norm'
        )
    for part in module.order:
        if part == 'conv':
            feature = apply_layer(feature, module.conv)
        elif part == 'norm' and module.with_norm:
            feature = apply_layer(feature, module.norm)
        elif part == 'act' and module.with_activation:
            feature = apply_layer(feature, module.activate)
    return feature


def _layer_norm(feature: SparseFeature, module: nn.LayerNorm) -> SparseFeature:
    """Normalize over the channels of each position."""
    shape = module.normalized_shape
    if len(shape) != 1:
        raise NoSparseForm(
            f'{module} has no sparse form: it normalizes over positions'
        )

    def normalize(values: Tensor) -> Tensor:
        return F.layer_norm(
            values, shape, module.weight, module.bias, module.eps
        )

    return feature.map_channels(normalize)


def _group_norm(feature: SparseFeature, module: Any) -> SparseFeature:
    """Normalize by the visible positions of each image."""
    values = F.group_norm(
        feature.by_image().transpose(1, 2),
        module.num_groups,
        module.weight,
        module.bias,
        module.eps,
    )
    return feature.with_rows(values.transpose(1, 2).flatten(0, 1))


def _rms_norm(feature: SparseFeature, module: Any) -> SparseFeature:
    """Divide by the root mean square of the channels of each position."""

    def normalize(values: Tensor) -> Tensor:
        energy = values.square().mean(-1, keepdim=True)
        values = values * (energy + module.eps).rsqrt()
        return values if module.weight is None else values * module.weight

    return feature.map_channels(normalize)


def _drop_path(feature: SparseFeature, module: Any) -> SparseFeature:
    """Stochastic depth of mmcv or timm, over images."""
    kept, scale = _kept_images(feature, module)
    return feature if kept is None else feature.scale_images(kept, None, scale)


def _kept_images(
    feature: SparseFeature, module: Any
) -> tuple[Tensor | None, float]:
    """Which images stochastic depth keeps, None for all, and their factor."""
    if not module.training or module.drop_prob == 0:
        return None, 1.0
    keep = 1 - module.drop_prob
    ids = feature.mask.ids
    kept = torch.rand(ids.size(0), device=ids.device) < keep
    return kept, 1 / keep if getattr(module, 'scale_by_keep', True) else 1.0


def _activated(norm: SparseForm) -> SparseForm:
    """Form of timm's norm layers, which hold an activation."""

    def apply(feature: SparseFeature, module: nn.Module) -> SparseFeature:
        feature = norm.apply(feature, module)
        for name in ('drop', 'act'):
            # timm's synchronized form lacks them where they do nothing.
            part = getattr(module, name, None)
            if part is not None:
                feature = apply_layer(feature, part)
        return feature

    return SparseForm(apply)


CONV = SparseForm(lambda feature, module: feature.conv(module))
NORM = SparseForm(lambda feature, module: feature.norm(module))
MAP = SparseForm(lambda feature, module: feature.map(module))
LAYER_NORM = SparseForm(_layer_norm)
GROUP_NORM = SparseForm(_group_norm)
RMS_NORM = SparseForm(_rms_norm)
DROP_PATH = SparseForm(_drop_path, 'any')

_POINTWISE = (
    nn.ReLU,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Dropout,
    HSigmoid,
    HSwish,
    Swish,
    timm_activations.Swish,
    timm_activations.Mish,
    timm_activations.Sigmoid,
    timm_activations.Tanh,
    timm_activations.HardSwish,
    timm_activations.HardSigmoid,
    timm_activations.HardMish,
    timm_activations.GELU,
    timm_activations.GELUTanh,
    timm_activations.QuickGELU,
)

_FORMS: dict[type, SparseForm] = {
    **dict.fromkeys(
        (nn.Conv2d, Conv2dAdaptivePadding, timm_layers.Conv2dSame), CONV
    ),
    nn.ConvTranspose2d: SparseForm(transposed_conv),
    nn.Linear: SparseForm(
        lambda feature, module: feature.map_channels(module), 'last'
    ),
    **dict.fromkeys(
        (_BatchNorm, nn.SyncBatchNorm, DistributedBatchNorm), NORM
    ),
    **dict.fromkeys(
        (
            DistributedBatchNormAct,
            timm_layers.BatchNormAct2d,
            timm_layers.SyncBatchNormAct,
        ),
        _activated(NORM),
    ),
    nn.LayerNorm: LAYER_NORM._replace(layout='last'),
    LayerNorm2d: LAYER_NORM._replace(layout='argument'),
    timm_layers.LayerNorm: LAYER_NORM._replace(layout='last'),
    timm_layers.LayerNorm2d: LAYER_NORM,
    timm_layers.LayerNormAct2d: _activated(LAYER_NORM),
    **dict.fromkeys(
        (nn.GroupNorm, timm_layers.GroupNorm, timm_layers.GroupNorm1),
        GROUP_NORM,
    ),
    timm_layers.GroupNormAct: _activated(GROUP_NORM),
    timm_layers.RmsNorm2d: RMS_NORM,
    timm_layers.RmsNormAct2d: _activated(RMS_NORM),
    nn.MaxPool2d: SparseForm(lambda feature, module: feature.max_pool(module)),
    nn.AvgPool2d: SparseForm(lambda feature, module: feature.avg_pool(module)),
    nn.PReLU: MAP,
    timm_activations.PReLU: MAP,
    nn.Identity: SparseForm(lambda feature, module: feature, 'any'),
    DropPath: DROP_PATH,
    timm_layers.DropPath: DROP_PATH,
    **dict.fromkeys(_POINTWISE, MAP._replace(layout='any')),
}
