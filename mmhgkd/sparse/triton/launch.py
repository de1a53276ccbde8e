from typing import Any

import torch
from torch import Tensor

__all__ = ['launch', 'precision']


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    first: Tensor,
    *args: Any,
    **constants: Any,
) -> None:
    """Run a kernel on the device of its first argument."""
    with torch.cuda.device_of(first):
        kernel[grid](first, *args, **constants)


def precision() -> str:
    """Precision of float32 products, as PyTorch is set for its own."""
    highest = torch.get_float32_matmul_precision() == 'highest'
    return 'ieee' if highest else 'tf32'
