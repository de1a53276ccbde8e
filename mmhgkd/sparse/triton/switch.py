"""Which tensors the Triton kernels take; imports neither Triton nor CUDA."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor

__all__ = ['use_triton', 'uses_triton']

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_installed = find_spec('triton') is not None
# Triton's own variable: its kernels then run on the CPU, for tests.
_interpreted = os.environ.get('TRITON_INTERPRET') == '1'
_enabled = True


@contextmanager
def use_triton(enabled: bool) -> Iterator[None]:
    """Switch the Triton kernels on or off, to compare them with PyTorch.

    Args:
        enabled (bool): False takes PyTorch's operations on CUDA as well.
    """
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def uses_triton(*tensors: Tensor) -> bool:
    """Whether the Triton kernels take these tensors.

    That needs Triton, CUDA and one dtype among float32, bfloat16, float16.
    """
    return (
        _enabled
        and _installed
        and all(
            (x.is_cuda or _interpreted)
            and x.dtype == tensors[0].dtype
            and x.dtype in DTYPES
            for x in tensors
        )
    )
