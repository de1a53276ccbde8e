from typing import TYPE_CHECKING

from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import (
    Conv2dAdaptivePadding,
    DropPath,
    HSigmoid,
    HSwish,
    Swish,
)
from mmpretrain.models.utils.norm import LayerNorm2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batch_norm import DistributedBatchNorm
from .forms import (
    CONV,
    IDENTITY,
    MAP,
    MAP_ANY,
    NORM,
    NoSparseForm,
    SparseForm,
    drop_path,
    layer_norm,
)
from .sync_batch_norm_act import DistributedBatchNormAct
from .timm_forms import TIMM_FORMS, norm_act

if TYPE_CHECKING:
    from .sparse_feature import SparseFeature


def sparse_form(module: nn.Module) -> SparseForm | None:
    """Sparse form of a layer, None for one that has none.

    The class that defines ``forward`` decides: a subclass that overrides it,
    such as a convolution with standardized weights, is another layer.
    """
    for cls in type(module).__mro__:
        if 'forward' in vars(cls):
            return _FORMS.get(cls)
    return None


def apply_layer(
    feature: 'SparseFeature', module: nn.Module
) -> 'SparseFeature':
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


def _conv_module(
    feature: 'SparseFeature', module: ConvModule
) -> 'SparseFeature':
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


_FORMS: dict[type, SparseForm] = {
    nn.Conv2d: CONV,
    Conv2dAdaptivePadding: CONV,
    nn.Linear: SparseForm(
        lambda feature, module: feature.map_channels(module), 'last'
    ),
    _BatchNorm: NORM,
    nn.SyncBatchNorm: NORM,
    DistributedBatchNorm: NORM,
    DistributedBatchNormAct: SparseForm(norm_act(NORM.apply)),
    nn.LayerNorm: SparseForm(layer_norm, 'last'),
    LayerNorm2d: SparseForm(layer_norm, 'argument'),
    nn.MaxPool2d: SparseForm(lambda feature, module: feature.max_pool(module)),
    nn.AvgPool2d: SparseForm(lambda feature, module: feature.avg_pool(module)),
    nn.PReLU: MAP,
    nn.Identity: IDENTITY,
    DropPath: SparseForm(drop_path, 'any'),
    **dict.fromkeys(
        (
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
        ),
        MAP_ANY,
    ),
    **TIMM_FORMS,
}
