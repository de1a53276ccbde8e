from typing import Any

import torch
from torch import Tensor, nn


class AdaptiveAverage(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two products of matrices.

    ONNX has no pooling to a given size, and the sizes of its windows cannot
    depend on the image.

    Args:
        size (tuple[int, int]): Height and width of the result.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Average maps ``(B, C, H, W)`` to ``(B, C, *size)``."""
        rows = _averages(x.shape[2], self.size[0], x)
        columns = _averages(x.shape[3], self.size[1], x)
        return rows @ x @ columns.T


def _averages(length: int, count: int, like: Tensor) -> Tensor:
    """Weights ``(count, length)`` of each place in each window."""
    place = torch.arange(length, device=like.device)
    number = torch.arange(count, device=like.device)
    begin = torch.div(number * length, count, rounding_mode='floor')
    # Rounded up.
    end = torch.div(
        (number + 1) * length + count - 1, count, rounding_mode='floor'
    )
    inside = (place >= begin[:, None]) & (place < end[:, None])
    return inside.to(like) / (end - begin)[:, None].to(like)


def replace_adaptive_pools(model: nn.Module) -> None:
    """Put :class:`AdaptiveAverage` in a model; global averages stay."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if not isinstance(layer, nn.AdaptiveAvgPool2d):
                continue
            size: Any = layer.output_size
            if isinstance(size, int):
                size = (size, size)
            if size is not None and None not in size and tuple(size) != (1, 1):
                setattr(parent, name, AdaptiveAverage(tuple(size)))
