"""Operations of dense networks between their layers, on sparse features."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.padding import pad_same
from torch import Tensor, nn

from .axes import (
    chunk,
    get_item,
    permute,
    reshape,
    split,
    stack,
    transpose,
    unbind,
)
from .map_layers import has_map_form, run_map_layer
from .sets import run_set_layer, set_form
from .sparse_feature import NoSparseForm
from .sparse_map import SparseMap
from .windows import (
    avg_pool,
    convolve,
    interpolate,
    max_pool,
    pad,
    pad_as_tensorflow,
)

__all__ = [
    'KEPT_WHOLE',
    'check_form',
    'is_reduction',
    'run_layer',
    'run_operation',
]

#: Functions that a record keeps as one step.
KEPT_WHOLE = (pad_same,)


def check_form(target: Any, *args: Any) -> None:
    """Check that there is a sparse form at all.

    Args:
        target (Any): A module, a function, or a tensor's method by name.
        *args (Any): Arguments of the function, for the error.

    Raises:
        NoSparseForm: If there is none.
    """
    if isinstance(target, nn.Module):
        known = (
            isinstance(target, _GLOBAL_POOLS)
            or has_map_form(target)
            or set_form(target) is not None
        )
        name = type(target).__name__
    else:
        known = target in _OPERATIONS
        name = f'the operation `{getattr(target, "__name__", target)}`'
        if target is getattr:
            known = args[1] in _ATTRIBUTES
            name = f"the use of a feature map's `{args[1]}`"
    if not known:
        raise NoSparseForm(f'{name} has no sparse form')


def is_reduction(target: Any) -> bool:
    """Whether a module or operation turns a map into an ordinary tensor."""
    if isinstance(target, nn.Module):
        return isinstance(target, _GLOBAL_POOLS)
    return _OPERATIONS.get(target) in _REDUCTIONS


def run_layer(
    module: nn.Module, x: SparseMap, *args: Any, **kwargs: Any
) -> Any:
    """Run a layer of a dense network on a sparse map.

    Returns:
        SparseMap or Tensor: A tensor for a pooling of all positions. Layers
        of several results return a tuple.

    Raises:
        NoSparseForm: If the layer has no sparse form.
        ValueError: If the layer expects the channels elsewhere.
    """
    check_form(module)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return _global_mean(x, module.output_size)
    if isinstance(module, nn.AdaptiveMaxPool2d):
        return _global_max(x, module.output_size)
    if set_form(module) is not None:
        return run_set_layer(module, x, *args, **kwargs)
    return run_map_layer(module, x, *args, **kwargs)


def run_operation(target: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a function, or a tensor's method by name, on sparse maps.

    Raises:
        NoSparseForm: If the operation has no sparse form.
    """
    check_form(target, *args)
    if (
        isinstance(args[0], SparseMap)
        and args[0].padding is not None
        and target not in _WINDOWS
    ):
        raise NoSparseForm(
            'a map is padded for another operation than a convolution or '
            'pooling'
        )
    given = {key: value for key, value in kwargs.items() if value is not None}
    return _OPERATIONS[target](*args, **given)


def _binary(function: Callable[..., Tensor]) -> Callable[..., SparseMap]:
    """An operation of two maps, or of a map and values of a tensor."""

    def run(a: Any, b: Any, **kwargs: Any) -> SparseMap:
        x = a if isinstance(a, SparseMap) else b
        return x.with_positions(function(x.operand(a), x.operand(b), **kwargs))

    return run


_sum_of_two = _binary(torch.add)
_product_of_two = _binary(torch.mul)


def _add(a: Any, b: Any, **kwargs: Any) -> SparseMap:
    x, other = (a, b) if isinstance(a, SparseMap) else (b, a)
    if isinstance(other, SparseMap):
        x.check_same(other)
        if kwargs or x.channels != other.channels:
            return _sum_of_two(a, b, **kwargs)
        return x._replace(feature=x.feature.add(other.feature))
    if kwargs or x.folds is not None:
        return _sum_of_two(a, b, **kwargs)
    if not isinstance(other, Tensor) or other.dim() == 0:
        return x._replace(feature=x.feature.map(lambda values: values + other))
    shift = x.operand(other)
    if max(shift.shape[:2]) > 1 or shift.size(2) != x.channels[0]:
        return _sum_of_two(a, b)
    feature = x.feature.map_channels(lambda values: values + shift[0, 0])
    return x._replace(feature=feature)


def _multiply(a: Any, b: Any) -> SparseMap:
    x, other = (a, b) if isinstance(a, SparseMap) else (b, a)
    if isinstance(other, SparseMap) or x.folds is not None:
        return _product_of_two(a, b)
    if not isinstance(other, Tensor) or other.dim() == 0:
        return x._replace(feature=x.feature.map(lambda values: values * other))
    factor = x.operand(other)
    if factor.size(1) > 1 or factor.size(2) not in (1, x.channels[0]):
        return _product_of_two(a, b)
    factor = factor[:, 0]
    if factor.size(0) > 1:
        return x._replace(feature=x.feature.scale_images(factor))
    feature = x.feature.map_channels(lambda values: values * factor[0])
    return x._replace(feature=feature)


def _add_product(x: Any, a: Any, b: Any) -> SparseMap:
    if not isinstance(a, SparseMap) and not isinstance(b, SparseMap):
        return _add(x, a * b)
    return _add(x, _multiply(a, b))


def _concatenate(maps: Sequence[Any], dim: int = 0) -> SparseMap:
    first, *others = maps
    if not isinstance(first, SparseMap):
        raise NoSparseForm('a feature map and a tensor cannot be concatenated')
    rank = 3 + len(first.channels)
    if dim % rank in (0, *first.spatial_axes):
        raise NoSparseForm(
            'feature maps can be concatenated along their channels only'
        )
    for other in others:
        first.check_same(other)
    if first.folds is not None:
        parts = [first.operand(x) for x in maps]
        return first.with_positions(torch.cat(parts, first.axis(dim)))
    feature = first.feature.concatenate([other.feature for other in others])
    return first._replace(feature=feature)


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A reduction over all visible positions, or over channels of each."""
    name = function.__name__

    def run(x: SparseMap, dim: Any, keepdim: bool = False) -> Any:
        rank = 3 + len(x.channels)
        axes = (dim,) if isinstance(dim, int) else tuple(dim)
        axes = tuple(sorted(axis % rank for axis in axes))
        if axes == x.spatial_axes and function is not torch.sum:
            found = function(x.positions(), 1)
            return x.per_image(found, keepdim)
        if axes == tuple(range(1, rank)) and function is not torch.sum:
            found = function(x.positions(), tuple(range(1, rank - 1)))
            return found.view(-1, *[1] * (rank - 1)) if keepdim else found
        if set(axes) & {0, *x.spatial_axes}:
            raise NoSparseForm(
                f'the operation `{name}` over other axes than '
                'height and width has no sparse form, nor over one of them'
            )
        if not keepdim and len(axes) == len(x.channels):
            raise NoSparseForm(f'`{name}` leaves a map without channels')
        along = tuple(x.axis(axis) for axis in axes)
        return x.with_positions(function(x.positions(), along, keepdim))

    return run


_mean = _reduction(torch.mean)
_maximum = _reduction(torch.amax)


def _max(x: SparseMap, dim: int, keepdim: bool = False) -> tuple[Any, None]:
    return _maximum(x, dim, keepdim), None


def _norm(x: SparseMap, p: Any, dim: Any, keepdim: bool = False) -> Tensor:
    if p not in (2, 'fro'):
        raise NoSparseForm(f'the norm of order {p} has no sparse form')
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    if tuple(sorted(axis % 4 for axis in axes)) != x.spatial_axes:
        raise NoSparseForm(
            'the operation `norm` over other axes than height and width has '
            'no sparse form'
        )
    return x.per_image(x.feature.image_norm(), keepdim)


def _global_mean(x: SparseMap, output_size: Any) -> Tensor:
    if output_size not in (1, (1, 1), [1, 1]) or x.channels_last:
        raise NoSparseForm(
            'adaptive pooling to more than one position has no sparse form'
        )
    return _mean(x, (2, 3), keepdim=True)


def _global_max(x: SparseMap, output_size: Any) -> Tensor:
    if output_size not in (1, (1, 1), [1, 1]) or x.channels_last:
        raise NoSparseForm(
            'adaptive pooling to more than one position has no sparse form'
        )
    return _maximum(x, (2, 3), keepdim=True)


def _identity(x: Any, *unused: Any, **also: Any) -> Any:
    return x


def _expand(x: Any, other: Any) -> Any:
    if isinstance(x, SparseMap):
        raise NoSparseForm('the expansion of a map has no sparse form')
    # What it meets broadcasts as well.
    return x


def _size(x: SparseMap, dim: int | None = None) -> Any:
    return x.shape if dim is None else x.shape[dim]


def _attribute(x: SparseMap, name: str) -> Any:
    return _ATTRIBUTES[name](x)


def _layer_norm(
    x: SparseMap,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> SparseMap:
    if not x.channels_last or len(normalized_shape) != 1:
        raise NoSparseForm('a layer norm over positions has no sparse form')
    feature = x.feature.map_channels(
        lambda values: F.layer_norm(
            values, tuple(normalized_shape), weight, bias, eps
        )
    )
    return x._replace(feature=feature)


def _softmax(x: SparseMap, dim: int, **kwargs: Any) -> SparseMap:
    return x.with_positions(x.positions().softmax(x.axis(dim), **kwargs))


def _of_positions(function: Any) -> Callable[..., SparseMap]:
    """An elementwise function that need not exist at zero."""

    def run(x: SparseMap, *args: Any, **kwargs: Any) -> SparseMap:
        return x.with_positions(function(x.positions(), *args, **kwargs))

    return run


def _elementwise(function: Any) -> Callable[..., SparseMap]:

    def run(x: SparseMap, *args: Any, **kwargs: Any) -> SparseMap:

        def apply(values: Tensor) -> Tensor:
            if isinstance(function, str):
                return getattr(values, function)(*args, **kwargs)
            return function(values, *args, **kwargs)

        return x._replace(feature=x.feature.map(apply))

    return run


_ADDITIONS = (operator.add, operator.iadd, torch.add, 'add', 'add_')
_PRODUCTS = (operator.mul, operator.imul, torch.mul, 'mul', 'mul_')
_ELEMENTWISE = (
    F.relu,
    F.relu6,
    F.leaky_relu,
    F.elu,
    F.gelu,
    F.silu,
    F.mish,
    F.hardswish,
    F.hardsigmoid,
    F.sigmoid,
    F.hardtanh,
    torch.relu,
    torch.relu_,
    torch.sigmoid,
    torch.tanh,
    'relu',
    'relu_',
    'sigmoid',
    'sigmoid_',
    'tanh',
)

_GLOBAL_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_REDUCTIONS = (_mean, _norm, _global_mean, _global_max, _size, _attribute)
_ATTRIBUTES: dict[str, Callable[[SparseMap], Any]] = {
    'shape': lambda x: x.shape,
    'ndim': lambda x: len(x.shape),
    'dtype': lambda x: x.feature.values.dtype,
    'device': lambda x: x.feature.values.device,
}
# Each function, by what it is called as.
_BINARIES: dict[Callable[..., Tensor], tuple[Any, ...]] = {
    torch.sub: (operator.sub, operator.isub, torch.sub, 'sub', 'sub_'),
    torch.div: (operator.truediv, operator.itruediv, torch.div, 'div'),
    torch.pow: (operator.pow, torch.pow, 'pow'),
    torch.maximum: (torch.maximum, 'maximum'),
    torch.minimum: (torch.minimum, 'minimum'),
}
_UNARIES = (
    'abs',
    'clamp',
    'exp',
    'neg',
    'rsqrt',
    'sqrt',
    'square',
)
_WINDOWS: dict[Any, Callable[..., Any]] = {
    F.conv2d: convolve,
    F.max_pool2d: max_pool,
    F.avg_pool2d: avg_pool,
}

_OPERATIONS: dict[Any, Callable[..., Any]] = {
    getattr: _attribute,
    **dict.fromkeys(_ADDITIONS, _add),
    **dict.fromkeys(_PRODUCTS, _multiply),
    **{
        name: _binary(function)
        for function, names in _BINARIES.items()
        for name in names
    },
    torch.addcmul: _add_product,
    torch.cat: _concatenate,
    torch.concat: _concatenate,
    torch.stack: stack,
    **dict.fromkeys((torch.permute, 'permute'), permute),
    **dict.fromkeys((torch.transpose, 'transpose'), transpose),
    **dict.fromkeys((torch.reshape, 'reshape', 'view'), reshape),
    **dict.fromkeys((torch.split, 'split'), split),
    **dict.fromkeys((torch.chunk, 'chunk'), chunk),
    **dict.fromkeys((torch.unbind, 'unbind'), unbind),
    operator.getitem: get_item,
    **dict.fromkeys((torch.mean, 'mean'), _mean),
    **dict.fromkeys((torch.sum, 'sum'), _reduction(torch.sum)),
    **dict.fromkeys((torch.amax, 'amax'), _maximum),
    **dict.fromkeys((torch.amin, 'amin'), _reduction(torch.amin)),
    **dict.fromkeys((torch.max, 'max'), _max),
    **dict.fromkeys((torch.norm, 'norm'), _norm),
    **dict.fromkeys((torch.softmax, F.softmax, 'softmax'), _softmax),
    F.layer_norm: _layer_norm,
    F.adaptive_avg_pool2d: _global_mean,
    F.adaptive_max_pool2d: _global_max,
    F.pad: pad,
    pad_same: pad_as_tensorflow,
    F.interpolate: interpolate,
    **_WINDOWS,
    **dict.fromkeys(('contiguous', 'clone'), _identity),
    **dict.fromkeys(('expand_as',), _expand),
    'size': _size,
    'dim': lambda x: len(x.shape),
    operator.neg: _of_positions(torch.neg),
    **{
        function: _of_positions(getattr(torch, name))
        for name in _UNARIES
        for function in (name, getattr(torch, name))
    },
    **{function: _elementwise(function) for function in _ELEMENTWISE},
}
