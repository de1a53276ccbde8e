# mypy: disable-error-code="no-untyped-def"
"""Maximum over windows of packed rows, without writing down what is read."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .runtime import launch, operator
from .tuning import depthwise_blocks

__all__ = ['max_pool', 'max_pool_gradient']


@operator(
    lambda rows, table: (
        rows.new_empty(table.size(0), rows.size(1)),
        rows.new_empty(table.size(0), rows.size(1), dtype=torch.int8),
    )
)
def max_pool(rows: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over the taps of ``rows[table[:, tap]]``, the first of equals.

    Args:
        rows (Tensor): ``(N, C)``.
        table (Tensor): ``(n, taps)`` int32, at most 128 taps; row ``N``
            reads as zero, and what is past it does not count.

    Returns:
        tuple[Tensor]: The maximum and its tap, int8, ``(n, C)`` each.
    """
    rows = rows.contiguous()
    (num_out, taps), channels = table.shape, rows.size(1)
    out = rows.new_empty(num_out, channels)
    chosen = torch.empty_like(out, dtype=torch.int8)
    height, width = depthwise_blocks(channels)
    launch(
        _max_pool,
        (triton.cdiv(num_out, height), triton.cdiv(channels, width)),
        rows,
        table.contiguous(),
        out,
        chosen,
        num_out,
        rows.size(0),
        CHANNELS=channels,
        TAPS=taps,
        HEIGHT=height,
        WIDTH=width,
    )
    return out, chosen


@operator(
    lambda grad, chosen, tables, taps, block, stride: grad.new_empty(
        sum(table.size(0) for table in tables), grad.size(1)
    )
)
def max_pool_gradient(
    grad: Tensor,
    chosen: Tensor,
    tables: list[Tensor],
    taps: list[int],
    block: int,
    stride: int,
) -> Tensor:
    """Input gradient of :func:`max_pool`.

    Args:
        grad (Tensor): Gradient of the maximum, ``(n, C)``.
        chosen (Tensor): Tap of the maximum, ``(n, C)`` int8.
        tables (list[Tensor]): Tables of the phases, see
            :meth:`mmhgkd.sparse.geometry.Geometry.phases`.
        taps (list[int]): Taps of all columns of these, table by table.
        block (int): Input positions along the side of a unit.
        stride (int): Stride of the window.

    Returns:
        Tensor: ``(N, C)``.
    """
    grad = grad.contiguous()
    num_out, channels = grad.shape
    d_rows = grad.new_empty(sum(map(len, tables)), channels)
    height, width = depthwise_blocks(channels)
    start = 0
    for phase, table in enumerate(tables):
        read = tuple(taps[start : start + table.size(1)])
        start += len(read)
        launch(
            _max_pool_gradient,
            (triton.cdiv(len(table), height), triton.cdiv(channels, width)),
            grad,
            chosen,
            table.contiguous(),
            d_rows,
            len(table),
            num_out,
            READ=read,
            TAPS=len(read),
            PHASE=phase,
            BLOCK=block,
            STRIDE=stride,
            CHANNELS=channels,
            HEIGHT=height,
            WIDTH=width,
        )
    return d_rows


@triton.jit
def _max_pool(
    rows,
    table,
    out,
    chosen,
    num_out,
    num_in,
    CHANNELS: tl.constexpr,
    TAPS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * HEIGHT + tl.arange(0, HEIGHT)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    in_rows, in_channels = row < num_out, channel < CHANNELS
    best = tl.full((HEIGHT, WIDTH), float('-inf'), dtype=tl.float32)
    where = tl.zeros((HEIGHT, WIDTH), dtype=tl.int32)
    for tap in range(TAPS):
        read = tl.load(table + row * TAPS + tap, mask=in_rows, other=num_in)
        value = tl.load(
            rows + read.to(tl.int64)[:, None] * CHANNELS + channel[None, :],
            mask=(read < num_in)[:, None] & in_channels[None, :],
            other=0.0,
        ).to(tl.float32)
        # NaN is passed on, as in PyTorch.
        better = ((value > best) | (value != value)) & (read <= num_in)[
            :, None
        ]
        best = tl.where(better, value, best)
        where = tl.where(better, tap, where)
    place = row[:, None] * CHANNELS + channel[None, :]
    inside = in_rows[:, None] & in_channels[None, :]
    tl.store(out + place, best.to(out.dtype.element_ty), mask=inside)
    tl.store(chosen + place, where.to(tl.int8), mask=inside)


@triton.jit
def _max_pool_gradient(
    grad,
    chosen,
    table,
    d_rows,
    num_rows,
    num_out,
    READ: tl.constexpr,
    TAPS: tl.constexpr,
    PHASE: tl.constexpr,
    BLOCK: tl.constexpr,
    STRIDE: tl.constexpr,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    in_rows, in_channels = row < num_rows, channel < CHANNELS
    total = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    for index in tl.static_range(TAPS):
        reader = tl.load(
            table + row.to(tl.int64) * TAPS + index,
            mask=in_rows,
            other=num_out,
        )
        place = reader.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
        inside = (reader < num_out)[:, None] & in_channels[None, :]
        tap = tl.load(chosen + place, mask=inside, other=-1)
        slope = tl.load(
            grad + place, mask=inside & (tap == READ[index]), other=0.0
        )
        total += slope.to(tl.float32)
    # Rows of a phase lie apart.
    side: tl.constexpr = BLOCK // STRIDE
    y = row // side * STRIDE + PHASE // STRIDE
    x = row % side * STRIDE + PHASE % STRIDE
    place = (y.to(tl.int64) * BLOCK + x)[:, None] * CHANNELS + channel[None, :]
    tl.store(
        d_rows + place,
        total.to(d_rows.dtype.element_ty),
        mask=in_rows[:, None] & in_channels[None, :],
    )
