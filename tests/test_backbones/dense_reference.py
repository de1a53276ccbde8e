"""SparK's masked dense network, of any network, by PyTorch's functions.

Every function of PyTorch that mixes or counts positions is exchanged for one
on dense maps that hides the masked positions. It knows no class of a network
and nothing of the sparse features.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmhgkd.masks import UnitMask

_WINDOWS = (F.conv2d, F.max_pool2d, F.avg_pool2d, F.pad)
_REDUCTIONS = {
    torch.mean: torch.mean,
    Tensor.mean: torch.mean,
    torch.amax: torch.amax,
    Tensor.amax: torch.amax,
}
_NORMS = (torch.norm, Tensor.norm)


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
        if not isinstance(x, Tensor) or x.dim() != 4:
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
    with reference:
        maps = network(images)
    maps = maps.values() if isinstance(maps, dict) else maps
    return [reference.hidden(x) for x in maps]
