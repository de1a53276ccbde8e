"""SparK's masked dense network, of any network, by PyTorch's functions.

Every function of PyTorch that mixes or counts positions is exchanged for one
on dense maps that hides the masked positions. It knows no class of a network
and nothing of the sparse features.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmhgkd.masks import UnitMask

_WINDOWS = (
    F.conv2d,
    F.conv_transpose2d,
    F.max_pool2d,
    F.avg_pool2d,
    F.pad,
)
_REDUCTIONS = {
    torch.mean: torch.mean,
    Tensor.mean: torch.mean,
    torch.amax: torch.amax,
    Tensor.amax: torch.amax,
}
_NORMS = (torch.norm, Tensor.norm)
_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)
_SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)
_SUMS = (torch.sum, Tensor.sum, F.normalize)


class DoubleOnly(TorchFunctionMode):
    """Lets layers that compute in float32 compute in float64."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.float and args[0].dtype == torch.float64:
            return args[0]
        return func(*args, **(kwargs or {}))


class DenseReference(TorchFunctionMode):
    """Hides masked positions while a dense network runs.

    Args:
        mask (UnitMask): Which units are visible.
    """

    def __init__(self, mask: UnitMask) -> None:
        super().__init__()
        self.size = (mask.rows * mask.unit, mask.columns * mask.unit)
        self.units = mask.visible(mask.unit).double()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        x = args[0] if args else None
        if not isinstance(x, Tensor):
            return func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            keys = self.seen_flat(args[1], -2)
            assert keys is not None and not kwargs.get('dropout_p')
            return func(*args[:3], attn_mask=keys[:, None, None])
        if func in _PRODUCTS:
            return func(self.hidden_flat(x, -1), *args[1:])
        if func in _SUMS and isinstance(kwargs.get('dim'), int):
            return func(self.hidden_flat(x, kwargs['dim']), **kwargs)
        if func in _SOFTMAX:
            dim = kwargs['dim'] if 'dim' in kwargs else args[1]
            return func(self.hidden_flat(x, dim, -torch.inf), dim=dim)
        if x.dim() != 4:
            return func(*args, **kwargs)
        if func in _WINDOWS or func is torch.max_pool2d:
            return func(self.hidden(x), *args[1:], **kwargs)
        if func is F.batch_norm and len(x) > 1:
            return self.batch_norm(*args, **kwargs)
        if func is F.group_norm:
            return self.group_norm(*args, **kwargs)
        if func in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
            pool = torch.mean if func is F.adaptive_avg_pool2d else torch.amax
            return self.reduced(pool, x, (2, 3), True)
        if func in _REDUCTIONS:
            return self.reduced(_REDUCTIONS[func], *args, **kwargs)
        if func in _NORMS:
            dim, keepdim = kwargs['dim'], kwargs['keepdim']
            return self.reduced(torch.linalg.vector_norm, x, dim, keepdim)
        return func(*args, **kwargs)

    def seen(self, x: Tensor, axis: int = 2) -> Tensor | None:
        """Visible positions of a map, ``(B, h, w)``; None if it is none."""
        height, width = x.shape[axis : axis + 2]
        if height * self.size[1] != width * self.size[0]:
            return None
        if height < self.units.size(2) or self.size[0] % height:
            return None
        return F.interpolate(self.units, (height, width))[:, 0].bool()

    def seen_flat(self, x: Tensor, axis: int) -> Tensor | None:
        """Visible positions of a flattened map, ``(B, N)``.

        None where the size of the axis is no number of positions: the sizes
        of images and channels must not be alike.
        """
        units = self.units.shape[2] * self.units.shape[3]
        side = math.isqrt(x.size(axis) // units)
        if side * side * units != x.size(axis):
            return None
        height, width = (side * n for n in self.units.shape[2:])
        return F.interpolate(self.units, (height, width)).flatten(1).bool()

    def hidden_flat(self, x: Tensor, axis: int, fill: float = 0.0) -> Tensor:
        """The values of flattened maps, ``fill`` where masked."""
        seen = self.seen_flat(x, axis)
        if seen is None:
            return x
        shape = [len(seen)] + [1] * (x.dim() - 1)
        shape[axis] = -1
        return x.masked_fill(~seen.view(shape), fill)

    def hidden(self, x: Tensor) -> Tensor:
        """The map, zero where masked."""
        seen = self.seen(x)
        return x if seen is None else x * seen[:, None]

    def batch_norm(
        self,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weight: Tensor,
        bias: Tensor,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """With the statistics of the visible positions of the batch."""
        seen = self.seen(x)
        assert seen is not None or x.shape[2:] == (1, 1)
        if training:
            rows = x.permute(0, 2, 3, 1)
            rows = rows.flatten(0, 2) if seen is None else rows[seen]
            mean, var = rows.mean(0), rows.var(0, unbiased=False)
        y = (x.movedim(1, -1) - mean) / (var + eps).sqrt()
        y = y if weight is None else y * weight
        return (y if bias is None else y + bias).movedim(-1, 1)

    def group_norm(
        self,
        x: Tensor,
        groups: int,
        weight: Tensor,
        bias: Tensor,
        eps: float = 1e-5,
    ) -> Tensor:
        """With the statistics of the visible positions of each image."""
        seen = self.seen(x)
        assert seen is not None
        images = []
        for image, where in zip(x, seen, strict=True):
            parts = []
            for part in image.chunk(groups):
                values = part[:, where]
                var = values.var(unbiased=False)
                parts.append((part - values.mean()) / (var + eps).sqrt())
            images.append(torch.cat(parts))
        y = torch.stack(images).movedim(1, -1)
        y = y if weight is None else y * weight
        return (y if bias is None else y + bias).movedim(-1, 1)

    def reduced(
        self, function: Any, x: Tensor, dim: Any, keepdim: bool = False
    ) -> Tensor:
        """Over the visible positions of each image."""
        axes = (dim,) if isinstance(dim, int) else tuple(dim)
        axes = tuple(axis % 4 for axis in axes)
        if axes not in ((2, 3), (1, 2)):
            return function(x, dim=dim, keepdim=keepdim)
        seen = self.seen(x, axes[0])
        if seen is None:
            return function(x, dim=dim, keepdim=keepdim)
        last = x.movedim(1, -1) if axes == (2, 3) else x
        found = torch.stack(
            [
                function(image[where], dim=0)
                for image, where in zip(last, seen, strict=True)
            ]
        )
        if not keepdim:
            return found
        shape = (1, 1) if axes == (2, 3) else ()
        found = found.reshape(*found.shape, *shape)
        return found if axes == (2, 3) else found[:, None, None]


def masked_dense(network: Any, images: Tensor, mask: UnitMask) -> list[Tensor]:
    """Maps of the dense network, zero where masked."""
    reference = DenseReference(mask)
    with DoubleOnly(), reference:
        maps = network(images)
    maps = maps.values() if isinstance(maps, dict) else maps
    return [reference.hidden(x) for x in maps]
