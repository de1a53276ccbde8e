"""How the layers of dense networks are applied to sparse maps."""

from typing import Any

from torch import nn

from .layers import apply_layer, sparse_form
from .sparse_feature import NoSparseForm
from .sparse_map import SparseMap
from .window import PaddedLayer
from .windows import check_padded, interpolate, pad

__all__ = ['has_map_form', 'run_children', 'run_map_layer']


def has_map_form(module: nn.Module) -> bool:
    """Whether :func:`run_map_layer` takes a layer."""
    windows = (nn.Upsample, nn.ZeroPad2d)
    return isinstance(module, windows) or sparse_form(module) is not None


def run_map_layer(
    module: nn.Module, x: SparseMap, *args: Any, **kwargs: Any
) -> SparseMap:
    """Run a layer of a dense network on a sparse map.

    Raises:
        NoSparseForm: If the layer has no sparse form.
        ValueError: If the layer expects the channels elsewhere.
    """
    if isinstance(module, nn.Upsample):
        return interpolate(x, module.size, module.scale_factor, module.mode)
    if isinstance(module, nn.ZeroPad2d):
        return pad(x, module.padding)
    form = sparse_form(module)
    if form is None:
        raise NoSparseForm(f'{type(module).__name__} has no sparse form')
    layout: str = form.layout
    if layout == 'argument':
        layout = _data_format(*args, **kwargs)
    elif args or kwargs:
        raise NoSparseForm('only the feature map can be its argument')
    if layout != 'any' and (layout == 'last') != x.channels_last:
        raise ValueError(f'it expects the channels {layout}')
    if layout != 'any' and x.folds is not None:
        raise NoSparseForm('a layer of a map with folded channels')
    if x.padding is not None:
        check_padded(module)
        layer = PaddedLayer(module, *x.padding)
        x = x._replace(padding=None)
        return x._replace(feature=form.apply(x.feature, layer))
    return x._replace(feature=apply_layer(x.feature, module))


def run_children(x: SparseMap, module: nn.Module) -> SparseMap:
    """Run a layer, or one that runs its children in their order."""
    if has_map_form(module):
        return run_map_layer(module, x)
    for child in module.children():
        x = run_children(x, child)
    return x


def _data_format(data_format: str = 'channel_first') -> str:
    return 'last' if data_format == 'channel_last' else 'first'
