from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .gather_conv import gather_conv, uses_tables
from .geometry import Geometry
from .rows import gather, interleave
from .triton import uses_triton
from .window import Window

# As many as int8 tells apart.
MAX_TAPS = 128


def max_pool(
    rows: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
    zeros_outside: bool = False,
) -> Tensor:
    """Maximum over a window; what is masked counts as zero.

    Args:
        rows (Tensor): ``(N_in, C)``.
        geometry (Geometry): Tables of the mask.
        stride (int): Pixels between two input positions.
        window (Window): The window of the pooling.
        zeros_outside (bool): Whether positions outside the image count as
            zero. Defaults to False: they do not count, as in PyTorch.

    Returns:
        Tensor: ``(N_out, C)``.
    """
    outside = not zeros_outside
    triton = geometry.triton and uses_triton(rows)
    triton = triton and window.taps <= MAX_TAPS
    if triton or uses_tables(rows):
        phases = geometry.phases(stride, window) if rows.requires_grad else ()
        return _TableMaxPool.apply(
            rows,
            geometry.table(stride, window, outside),
            (geometry.mask.block(stride), window.stride, triton),
            [tap for phase in phases for tap in phase.taps],
            *(phase.table for phase in phases),
        )
    halo = geometry.halo(stride, window, outside)
    pooled = F.max_pool2d(
        _Halo.apply(rows, halo).permute(0, 3, 1, 2),
        window.kernel,
        window.stride,
        dilation=window.dilation,
    )
    return pooled.permute(0, 2, 3, 1).reshape(-1, rows.size(1))


def avg_pool(
    rows: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
    divisor: int | None = None,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean over a window; what is masked counts as zero.

    Args:
        rows (Tensor): ``(N_in, C)``.
        geometry (Geometry): Tables of the mask.
        stride (int): Pixels between two input positions.
        window (Window): The window of the pooling.
        divisor (int, optional): What the sum is divided by. Defaults to
            None, which means the number of positions.
        count_include_pad (bool): Whether positions outside the image are
            counted. Defaults to True.

    Returns:
        Tensor: ``(N_out, C)``.
    """
    channels = rows.size(1)
    ones = rows.new_ones(channels, 1, *window.kernel)
    total = gather_conv(rows, ones, geometry, stride, window, channels)
    if divisor is None and not count_include_pad and window.reads_outside:
        table = geometry.table(stride, window, mark_outside=True)
        inside = table <= geometry.num_rows(stride)
        return total / inside.sum(1, keepdim=True).to(rows.dtype)
    return total / (divisor or window.taps)


class _Halo(torch.autograd.Function):
    """Units with their halo, ``(units, height, width, C)``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, halo: Tensor) -> Tensor:
        ctx.save_for_backward(halo)
        ctx.size = rows.size(0)
        return gather(_with_zero_row(rows), halo, float('-inf'))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (halo,) = ctx.saved_tensors
        channels = grad.size(3)
        dtype = torch.promote_types(grad.dtype, torch.float32)
        total = grad.new_zeros(ctx.size + 2, channels, dtype=dtype)
        total.index_add_(
            0, halo.flatten(), grad.reshape(-1, channels).to(dtype)
        )
        return total[: ctx.size].to(grad.dtype), None


class _TableMaxPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        table: Tensor,
        options: tuple[int, int, bool],
        taps: list[int],
        *phases: Tensor,
    ) -> Tensor:
        if options[-1]:
            from .triton import max_pool as kernels

            out, chosen = kernels.max_pool(rows, table)
        else:
            out, chosen = _first_maximum(rows, table)
        ctx.save_for_backward(chosen, *phases)
        ctx.options, ctx.taps = options, taps
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        chosen, *phases = ctx.saved_tensors
        block, stride, triton = ctx.options
        if triton:
            from .triton import max_pool as kernels

            d_rows = kernels.max_pool_gradient(
                grad, chosen, phases, ctx.taps, block, stride
            )
            return d_rows, *[None] * (3 + len(phases))
        parts, taps = [], iter(ctx.taps)
        for phase in phases:
            part = grad.new_zeros(phase.size(0), grad.size(1))
            for readers in phase.unbind(1):
                here = gather(chosen, readers) == next(taps)
                part = part + gather(grad, readers) * here
            parts.append(part)
        d_rows = interleave(parts, block, stride)
        return d_rows, *[None] * (3 + len(phases))


def _first_maximum(rows: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`mmhgkd.sparse.triton.max_pool.max_pool`."""
    ends = rows.new_tensor([0, float('-inf')])[:, None]
    rows = torch.cat([rows, ends.expand(-1, rows.size(1))])
    first, *others = table.unbind(1)
    best = rows.index_select(0, first)
    dtype = torch.int8 if table.size(1) <= MAX_TAPS else torch.int16
    chosen = torch.zeros_like(best, dtype=dtype)
    for tap, read in enumerate(others, 1):
        value = rows.index_select(0, read)
        # NaN is passed on, as in PyTorch.
        better = (value > best).logical_or_(value.isnan())
        best = value.where(better, best)
        chosen.masked_fill_(better, tap)
    return best, chosen


def _with_zero_row(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_zeros(1, rows.size(1))])
