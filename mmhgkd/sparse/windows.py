"""Functional windows of dense networks, padding and upsampling."""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .sparse_feature import NoSparseForm
from .sparse_map import Padding, SparseMap
from .window import ConvCall, PaddedLayer

__all__ = [
    'avg_pool',
    'check_padded',
    'convolve',
    'interpolate',
    'max_pool',
    'pad',
    'pad_as_tensorflow',
]


def convolve(x: SparseMap, weight: Tensor, *args: Any, **kwargs: Any) -> Any:
    """As ``torch.nn.functional.conv2d``."""
    layer, x = _window(ConvCall(weight, *args, **kwargs), x)
    return x._replace(feature=x.feature.conv(layer))


def max_pool(x: SparseMap, *args: Any, **kwargs: Any) -> SparseMap:
    """As ``torch.nn.functional.max_pool2d``."""
    layer, x = _window(nn.MaxPool2d(*args, **kwargs), x)
    return x._replace(feature=x.feature.max_pool(layer))


def avg_pool(x: SparseMap, *args: Any, **kwargs: Any) -> SparseMap:
    """As ``torch.nn.functional.avg_pool2d``."""
    layer, x = _window(nn.AvgPool2d(*args, **kwargs), x)
    return x._replace(feature=x.feature.avg_pool(layer))


def check_padded(module: nn.Module) -> None:
    """Check that a layer reads values around a map.

    Raises:
        NoSparseForm: If it is no plain convolution or pooling.
    """
    if type(module) not in (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d):
        raise NoSparseForm(
            f'{type(module).__name__} of a padded map has no sparse form'
        )


def pad(
    x: SparseMap, pad: Any, mode: str = 'constant', value: float = 0.0
) -> SparseMap:
    """As ``torch.nn.functional.pad``: channels, or around the map."""
    sizes = tuple(pad) + (0,) * (6 - len(pad))
    if mode != 'constant' or x.channels_last or len(sizes) > 6 or x.folds:
        raise NoSparseForm(f'padding by `{mode}` of {pad} has no sparse form')
    if any(sizes[4:]):
        x = x.with_positions(F.pad(x.positions(), sizes[4:], value=value))
    sides = (sizes[0], sizes[1], sizes[2], sizes[3])
    if min(sides) < 0:
        raise NoSparseForm('cutting positions off a map has no sparse form')
    return x._replace(padding=Padding(sides, value)) if any(sides) else x


def pad_as_tensorflow(
    x: SparseMap,
    kernel_size: Any,
    stride: Any,
    dilation: Any = (1, 1),
    value: float = 0,
) -> SparseMap:
    """As timm's ``pad_same``, of maps that the stride divides."""
    sides: list[int] = []
    for axis in (1, 0):  # columns first
        taps, step, apart = (
            v if isinstance(v, int) else v[axis]
            for v in (kernel_size, stride, dilation)
        )
        total = max((taps - 1) * apart + 1 - step, 0)
        sides += (total // 2, total - total // 2)
    return pad(x, sides, value=value)


def interpolate(
    x: SparseMap,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = 'nearest',
    **kwargs: Any,
) -> SparseMap:
    """Nearest-neighbor upsampling by a whole number.

    Other modes mix positions across the border of what is visible, with
    weights that would not sum to one.
    """
    y, across = x.spatial_axes
    old = (x.shape[y], x.shape[across])
    if scale_factor is not None:
        by = scale_factor
        factors = set(by if isinstance(by, (tuple, list)) else (by,))
    else:
        new = (size, size) if isinstance(size, int) else tuple(size)
        factors = {a / b for a, b in zip(new, old, strict=True)}
    factor = math.ceil(max(factors))
    stride = x.feature.stride
    if mode != 'nearest' or factors != {factor} or stride % factor:
        raise NoSparseForm(
            f'resizing by `{mode}` and {sorted(factors)} has no sparse form: '
            'only `nearest` and whole factors have'
        )
    block = x.feature.mask.block(stride)
    grid = x.feature.rows().unflatten(0, (-1, block, block))
    for axis in (1, 2):
        grid = grid.repeat_interleave(factor, axis)
    rows = grid.flatten(0, 2)
    return x._replace(feature=x.feature.with_rows(rows, stride // factor))


def _window(layer: Any, x: SparseMap) -> tuple[Any, SparseMap]:
    if x.channels_last or x.folds:
        raise ValueError('it expects one axis of channels, first')
    if x.padding is None:
        return layer, x
    return PaddedLayer(layer, *x.padding), x._replace(padding=None)
