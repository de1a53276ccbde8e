"""Layers that are functions of the set of positions of an image.

Attention without a bias of the position does not know where a position is.
Hidden positions are then neither queries nor keys: the layer is run on the
visible ones as if there were no others.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from .attention import (
    conv_attention,
    hidden_state_mixer,
    multi_query_attention,
    multi_scale_linear_attention,
    split_transpose,
)
from .layers import forward_class
from .sparse_feature import NoSparseForm
from .sparse_map import SparseMap

__all__ = ['run_set_layer', 'set_form']

#: Takes the map and the layer.
SetForm = Callable[[SparseMap, Any], Any]


def set_form(module: nn.Module) -> SetForm | None:
    """Sparse form of a layer that mixes all positions, None if it has none.

    As in :func:`mmhgkd.sparse.layers.sparse_form`, the class that defines
    ``forward`` decides.
    """
    cls = forward_class(module)
    return _FORMS.get(f'{cls.__module__}.{cls.__qualname__}')


def run_set_layer(
    module: nn.Module, x: SparseMap, *args: Any, **kwargs: Any
) -> Any:
    """Run a layer that :func:`set_form` knows on a sparse map.

    Raises:
        NoSparseForm: If it is used otherwise than on one plain map.
    """
    form = set_form(module)
    if form is None:
        raise NoSparseForm(f'{type(module).__name__} has no sparse form')
    if args or kwargs:
        raise NoSparseForm('only the feature map can be its argument')
    if x.channels_last or x.folds is not None or x.padding is not None:
        raise NoSparseForm('it expects one axis of channels, first')
    return form(x, module)


def _as_it_is(x: SparseMap, module: nn.Module) -> SparseMap:
    """Run a layer on the visible positions as a map of one column."""
    values = module(x.positions().transpose(1, 2)[..., None])
    return x.with_positions(values[..., 0].transpose(1, 2))


def _without_windows(x: SparseMap, module: Any) -> SparseMap:
    if module.window_size:
        raise NoSparseForm(
            'attention within windows has no sparse form: they are no whole '
            'number of units'
        )
    return _as_it_is(x, module)


# By name, because timm moves what few import.
_FORMS: dict[str, SetForm] = {
    'timm.layers.attention2d.Attention2d': _as_it_is,
    'timm.layers.attention2d.MultiQueryAttention2d': multi_query_attention,
    'timm.layers.attention2d.MultiQueryAttentionV2': _as_it_is,
    'timm.models.cpubone.ConvAttention': conv_attention,
    'timm.models.edgenext.SplitTransposeBlock': split_transpose,
    'timm.models.efficientvim.HSMSSD': hidden_state_mixer,
    'timm.models.efficientvit_mit.LiteMLA': multi_scale_linear_attention,
    'timm.models.fastvit.Attention': _as_it_is,
    'timm.models.iformer.SHMA': _without_windows,
    'timm.models.lowformer.ConvAttention': conv_attention,
    'timm.models.shvit.SHSA': _as_it_is,
    'timm.models.swiftformer.EfficientAdditiveAttention': _as_it_is,
    'timm.models.visformer.Attention': _as_it_is,
}
