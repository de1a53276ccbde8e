"""Operations of dense networks between their layers, on sparse features."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import apply_layer, sparse_form
from .sparse_feature import NoSparseForm, SparseFeature

__all__ = [
    'SparseMap',
    'check_form',
    'is_reduction',
    'run_layer',
    'run_operation',
]


class SparseMap(NamedTuple):
    """A sparse feature where the dense network has a map.

    Args:
        feature (SparseFeature): The feature.
        channels_last (bool): Whether the dense map is ``(B, H, W, C)`` and
            not ``(B, C, H, W)``. Defaults to False.
    """

    feature: SparseFeature
    channels_last: bool = False

    @property
    def spatial_axes(self) -> tuple[int, int]:
        """Axes of height and width in the dense map."""
        return (1, 2) if self.channels_last else (2, 3)

    def per_image(self, values: Tensor, keepdim: bool) -> Tensor:
        """What the dense network has for ``(B, C)`` values."""
        if not keepdim:
            return values
        if self.channels_last:
            return values[:, None, None]
        return values[:, :, None, None]

    def per_channel(self, factor: Tensor) -> Tensor:
        """Inverse of :meth:`per_image`, ``(B, C)`` or ``(1, C)``."""
        shape = tuple(factor.shape)
        if self.channels_last:
            fits = len(shape) == 1 or (
                len(shape) == 4 and shape[1:3] == (1, 1)
            )
        else:
            fits = len(shape) in (3, 4) and shape[-2:] == (1, 1)
        if not fits:
            raise ValueError(
                f'a tensor of shape {shape} is combined with a feature map; '
                'it must hold one value a channel'
            )
        if len(shape) == 4:
            return factor.flatten(1)
        return factor.reshape(1, -1)


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
            isinstance(target, nn.AdaptiveAvgPool2d)
            or sparse_form(target) is not None
        )
        name = type(target).__name__
    else:
        known = target in _OPERATIONS
        name = f'the operation `{getattr(target, "__name__", target)}`'
        if target is getattr:
            name = f"the use of a feature map's `{args[1]}`"
    if not known:
        raise NoSparseForm(f'{name} has no sparse form')


def is_reduction(target: Any) -> bool:
    """Whether a module or operation turns a map into an ordinary tensor."""
    if isinstance(target, nn.Module):
        return isinstance(target, nn.AdaptiveAvgPool2d)
    return _OPERATIONS.get(target) in (_mean, _norm, _global_mean)


def run_layer(
    module: nn.Module, x: SparseMap, *args: Any, **kwargs: Any
) -> SparseMap | Tensor:
    """Run a layer of a dense network on a sparse map.

    Raises:
        NoSparseForm: If the layer has no sparse form.
        ValueError: If the layer expects the channels elsewhere.
    """
    check_form(module)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return _global_mean(x, module.output_size)
    form = sparse_form(module)
    assert form is not None
    layout: str = form.layout
    if layout == 'argument':
        layout = _data_format(*args, **kwargs)
    elif args or kwargs:
        raise NoSparseForm('only the feature map can be its argument')
    if layout != 'any' and (layout == 'last') != x.channels_last:
        raise ValueError(f'it expects the channels {layout}')
    return x._replace(feature=apply_layer(x.feature, module))


def run_operation(
    target: Any, *args: Any, **kwargs: Any
) -> SparseMap | Tensor:
    """Run a function, or a tensor's method by name, on sparse maps.

    Raises:
        NoSparseForm: If the operation has no sparse form.
    """
    check_form(target, *args)
    given = {key: value for key, value in kwargs.items() if value is not None}
    return _OPERATIONS[target](*args, **given)


def _data_format(data_format: str = 'channel_first') -> str:
    return 'last' if data_format == 'channel_last' else 'first'


def _add(a: Any, b: Any) -> SparseMap:
    x, other = (a, b) if isinstance(a, SparseMap) else (b, a)
    if isinstance(other, SparseMap):
        _check_same(x, other)
        return x._replace(feature=x.feature.add(other.feature))
    if not isinstance(other, Tensor) or other.dim() == 0:
        return x._replace(feature=x.feature.map(lambda values: values + other))
    shift = x.per_channel(other)
    if shift.size(0) > 1:
        raise NoSparseForm(
            'the sum of a feature map and one value an image '
            'and channel has no sparse form'
        )
    feature = x.feature.map_channels(lambda values: values + shift[0])
    return x._replace(feature=feature)


def _multiply(a: Any, b: Any) -> SparseMap:
    x, other = (a, b) if isinstance(a, SparseMap) else (b, a)
    if isinstance(other, SparseMap):
        raise NoSparseForm(
            'the product of two feature maps has no sparse form'
        )
    if not isinstance(other, Tensor) or other.dim() == 0:
        return x._replace(feature=x.feature.map(lambda values: values * other))
    factor = x.per_channel(other)
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
    axis = 3 if isinstance(first, SparseMap) and first.channels_last else 1
    if dim % 4 != axis:
        raise NoSparseForm(
            'feature maps can be concatenated along their channels only'
        )
    for other in others:
        _check_same(first, other)
    feature = first.feature.concatenate([other.feature for other in others])
    return first._replace(feature=feature)


def _permute(x: SparseMap, *axes: Any) -> SparseMap:
    order = axes if isinstance(axes[0], int) else tuple(axes[0])
    order = tuple(axis % 4 for axis in order)
    if order == (0, 1, 2, 3):
        return x
    if order == ((0, 3, 1, 2) if x.channels_last else (0, 2, 3, 1)):
        return x._replace(channels_last=not x.channels_last)
    raise NoSparseForm(f'the operation `permute{order}` has no sparse form')


def _mean(x: SparseMap, dim: Any, keepdim: bool = False) -> Tensor:
    _check_spatial(x, dim, 'mean')
    return x.per_image(x.feature.image_mean(), keepdim)


def _norm(x: SparseMap, p: Any, dim: Any, keepdim: bool = False) -> Tensor:
    if p not in (2, 'fro'):
        raise NoSparseForm(f'the norm of order {p} has no sparse form')
    _check_spatial(x, dim, 'norm')
    return x.per_image(x.feature.image_norm(), keepdim)


def _global_mean(x: SparseMap, output_size: Any) -> Tensor:
    if output_size not in (1, (1, 1), [1, 1]) or x.channels_last:
        raise NoSparseForm(
            'adaptive pooling to more than one position has no sparse form'
        )
    return x.per_image(x.feature.image_mean(), keepdim=True)


def _identity(x: SparseMap) -> SparseMap:
    return x


def _elementwise(function: Any) -> Callable[..., SparseMap]:

    def run(x: SparseMap, *args: Any, **kwargs: Any) -> SparseMap:

        def apply(values: Tensor) -> Tensor:
            if isinstance(function, str):
                return getattr(values, function)(*args, **kwargs)
            return function(values, *args, **kwargs)

        return x._replace(feature=x.feature.map(apply))

    return run


def _check_same(x: SparseMap, other: Any) -> None:
    if not isinstance(other, SparseMap):
        raise NoSparseForm('a feature map and a tensor cannot be concatenated')
    if x.channels_last != other.channels_last:
        raise ValueError('feature maps with the channels first and last meet')
    if x.feature.stride != other.feature.stride:
        raise ValueError(
            f'feature maps of strides {x.feature.stride} and '
            f'{other.feature.stride} meet'
        )


def _check_spatial(x: SparseMap, dim: Any, name: str) -> None:
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    if tuple(sorted(axis % 4 for axis in axes)) != x.spatial_axes:
        raise NoSparseForm(
            f'the operation `{name}` over other axes than '
            'height and width has no sparse form'
        )


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

_OPERATIONS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(_ADDITIONS, _add),
    **dict.fromkeys(_PRODUCTS, _multiply),
    torch.addcmul: _add_product,
    torch.cat: _concatenate,
    **dict.fromkeys((torch.permute, 'permute'), _permute),
    **dict.fromkeys((torch.mean, 'mean'), _mean),
    **dict.fromkeys((torch.norm, 'norm'), _norm),
    F.adaptive_avg_pool2d: _global_mean,
    **dict.fromkeys(('contiguous', 'clone'), _identity),
    **{function: _elementwise(function) for function in _ELEMENTWISE},
}
