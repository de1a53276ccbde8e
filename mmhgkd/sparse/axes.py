"""Operations on the axes of dense maps, for sparse ones."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .sparse_feature import NoSparseForm
from .sparse_map import SparseMap

__all__ = [
    'chunk',
    'get_item',
    'permute',
    'reshape',
    'split',
    'stack',
    'transpose',
    'unbind',
]


def permute(x: SparseMap, *axes: Any) -> SparseMap:
    """As ``torch.permute``; height and width stay beside each other."""
    order = axes if isinstance(axes[0], int) else tuple(axes[0])
    rank = 3 + len(x.channels)
    order = tuple(axis % rank for axis in order)
    spatial, last = x.spatial_axes, rank - 2
    channels = [axis for axis in order if axis not in (0, *spatial)]
    if order[0] == 0 and order[1:3] == spatial:
        channels_last = True
    elif order[0] == 0 and order[last:] == spatial:
        channels_last = False
    else:
        raise NoSparseForm(
            f'the operation `permute{order}` has no sparse form'
        )
    if channels != sorted(channels):
        moved = [x.axis(axis) for axis in channels]
        x = x.with_positions(x.positions().permute(0, 1, *moved))
    return x._replace(channels_last=channels_last)


def transpose(x: SparseMap, first: int, second: int) -> SparseMap:
    """As ``torch.transpose``."""
    order = list(range(3 + len(x.channels)))
    order[first], order[second] = order[second], order[first]
    return permute(x, order)


def reshape(x: SparseMap, *shape: Any) -> SparseMap:
    """As ``torch.reshape``, of the channels only."""
    sizes = shape if isinstance(shape[0], int) else tuple(shape[0])
    return x.folded(sizes)


def split(x: SparseMap, size: Any, dim: int = 0) -> tuple[SparseMap, ...]:
    """As ``torch.split``, along channels."""
    return _maps(x, x.positions().split(size, x.axis(dim)))


def chunk(x: SparseMap, number: int, dim: int = 0) -> tuple[SparseMap, ...]:
    """As ``torch.chunk``, along channels."""
    return _maps(x, x.positions().chunk(number, x.axis(dim)))


def unbind(x: SparseMap, dim: int = 0) -> tuple[SparseMap, ...]:
    """As ``torch.unbind``, along folded channels."""
    _check_folded(x)
    return _maps(x, x.positions().unbind(x.axis(dim)))


def stack(maps: Sequence[Any], dim: int = 0) -> SparseMap:
    """As ``torch.stack``: one more channel axis."""
    first, *others = maps
    for other in others:
        first.check_same(other)
    rank = 4 + len(first.channels)
    place = dim % rank
    ends = (1, 2) if first.channels_last else (rank - 2, rank - 1)
    if place == 0 or place in ends:
        raise NoSparseForm('maps can be stacked along their channels only')
    axis = place - 1 if first.channels_last else place + 1
    parts = [first.operand(x) for x in maps]
    return first.with_positions(torch.stack(parts, axis))


def get_item(x: Any, key: Any) -> Any:
    """Channels of a map, or every ``n``-th row and column."""
    if not isinstance(x, SparseMap):
        return x[key]
    shape = x.shape
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        missing = len(shape) - len(keys) + 1
        keys[place : place + 1] = [slice(None)] * missing
    keys += [slice(None)] * (len(shape) - len(keys))
    ranges = [
        range(size)[k] if isinstance(k, slice) else None
        for k, size in zip(keys, shape, strict=False)
    ]
    y, across = x.spatial_axes
    if len(keys) > len(shape) or ranges[0] != range(shape[0]):
        raise NoSparseForm('only channels of a feature map can be chosen')
    down, right = ranges[y], ranges[across]
    channels = [k for i, k in enumerate(keys) if i not in (0, y, across)]
    if any(isinstance(k, int) for k in channels):
        _check_folded(x)
    if any(k != slice(None) for k in channels):
        chosen = (slice(None), slice(None), *channels)
        x = x.with_positions(x.positions()[chosen])
    if down is None or right is None or down.step != right.step:
        raise NoSparseForm('a row or column of a feature map is chosen')
    if down.step == 1 and (len(down), len(right)) != (shape[y], shape[across]):
        raise NoSparseForm('a part of the positions of a map is chosen')
    return x if down.step == 1 else _subsampled(x, down, right)


def _subsampled(x: SparseMap, down: range, right: range) -> SparseMap:
    step, feature = down.step, x.feature
    block = feature.mask.block(feature.stride)
    y, z = down.start, right.start
    whole = [len(range(i, n, step)) for i, n in ((y, block), (z, block))]
    if (
        block % step
        or whole != [block // step] * 2
        or len(down) * step != feature.mask.rows * block
        or len(right) * step != feature.mask.columns * block
    ):
        raise NoSparseForm('a part of the positions of a map is chosen')
    grid: Tensor = feature.rows().unflatten(0, (-1, block, block))
    rows = grid[:, y::step, z::step].flatten(0, 2)
    return x._replace(feature=feature.with_rows(rows, feature.stride * step))


def _maps(x: SparseMap, parts: Sequence[Tensor]) -> tuple[SparseMap, ...]:
    return tuple(x.with_positions(part) for part in parts)


def _check_folded(x: SparseMap) -> None:
    if x.folds is None:
        raise NoSparseForm('a map without a channel axis has no sparse form')
