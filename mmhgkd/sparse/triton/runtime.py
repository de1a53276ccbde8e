"""Which tensors the Triton kernels take, and how they are launched.

It imports neither Triton nor CUDA.
"""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

__all__ = ['launch', 'operator', 'precision', 'use_triton', 'uses_triton']

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_installed = find_spec('triton') is not None
# Triton's own variable: its kernels then run on the CPU, for tests.
_interpreted = os.environ.get('TRITON_INTERPRET') == '1'
_enabled = os.environ.get('MMHGKD_TRITON') != '0'
# Bytes that the blocks of `tuning.py` need.
SHARED_MEMORY = 99 * 1024


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

    That needs Triton, an NVIDIA GPU since Ampere and one dtype among float32,
    bfloat16, float16. The environment variable ``MMHGKD_TRITON=0`` switches
    the kernels off.
    """
    return (
        _enabled
        and _installed
        and all(
            (_interpreted or (x.is_cuda and _fits(x.device)))
            and x.dtype == tensors[0].dtype
            and x.dtype in DTYPES
            for x in tensors
        )
    )


@functools.cache
def _gpu(device: torch.device) -> Any:
    return torch.cuda.get_device_properties(device)


@torch.compiler.assume_constant_result
def _fits(device: torch.device) -> bool:
    """Whether a GPU has what the kernels need."""
    if torch.version.hip is not None:
        return False
    gpu = _gpu(device)
    # PyTorch's older releases do not say it; all since Ampere have as much.
    shared = getattr(gpu, 'shared_memory_per_block_optin', SHARED_MEMORY)
    return gpu.major >= 8 and shared >= SHARED_MEMORY


def operator(fake: Callable[..., Any]) -> Callable[[Any], Any]:
    """Make a function that launches kernels an operator of PyTorch.

    Where nothing is compiled it stays a plain function, whose calls cost
    less. The operator is its attribute ``operator``.

    Args:
        fake (Callable): Makes empty results of the right shapes and dtypes,
            with which a compiler traces.
    """

    def register(function: Any) -> Any:
        name = f'mmhgkd::{function.__name__}'
        made = torch.library.custom_op(name, function, mutates_args=())
        made.register_fake(fake)

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            compiling = torch.compiler.is_compiling()
            return made(*args) if compiling else function(*args)

        call.operator = made  # type: ignore[attr-defined]
        return call

    return register


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
    """Precision of float32 products, as PyTorch's convolutions are set."""
    conv: Any = getattr(torch.backends.cudnn, 'conv', None)
    if hasattr(conv, 'fp32_precision'):
        tf32 = conv.fp32_precision == 'tf32'
    else:
        tf32 = torch.backends.cudnn.allow_tf32
    return 'tf32' if tf32 else 'ieee'
