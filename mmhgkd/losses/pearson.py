import torch
import torch.nn.functional as F
from torch import Tensor


def pearson_correlation(x: Tensor, y: Tensor, dim: int = -1) -> Tensor:
    """Pearson's correlation coefficient along an axis.

    Each centered vector is normalized on its own: a softmax over 65,536
    entries has norms near 1e-4, whose product any joint epsilon would
    swallow. Computed in fp32 at least.

    Args:
        x (Tensor): Of any shape.
        y (Tensor): Of the shape of ``x``.
        dim (int): Axis of the samples. Defaults to -1.

    Returns:
        Tensor: Shape of ``x`` without ``dim``; zero where a vector is
        constant.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, y = x.to(dtype), y.to(dtype)
    x = F.normalize(x - x.mean(dim, keepdim=True), dim=dim, eps=1e-12)
    y = F.normalize(y - y.mean(dim, keepdim=True), dim=dim, eps=1e-12)
    return (x * y).sum(dim)
