# mypy: disable-error-code="no-untyped-def"
"""Weight gradients of the products in :mod:`.gather_gemm`.

Sums over rows are spread over programs whose partial sums are added in a
fixed order, so that results repeat bit for bit. The partial sums are a few
MiB at most, too few for atomics to be faster.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .runtime import launch, operator, precision
from .tuning import depthwise_blocks, split_rows, weight_gradient_blocks

__all__ = ['depthwise_weight_gradient', 'weight_gradient']


@operator(
    lambda rows, grad, table: rows.new_empty(
        table.size(1), rows.size(1), grad.size(1), dtype=torch.float32
    )
)
def weight_gradient(rows: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    """Compute ``rows[table[:, tap]].T @ grad`` of every tap.

    Args:
        rows (Tensor): ``(N, C_in)``.
        grad (Tensor): Gradient of the output, ``(n, C_out)``.
        table (Tensor): ``(n, taps)`` int32; row ``N`` reads as zero.

    Returns:
        Tensor: ``(taps, C_in, C_out)`` float32.
    """
    rows, grad = rows.contiguous(), grad.contiguous()
    (num_out, taps), c_in, c_out = table.shape, rows.size(1), grad.size(1)
    blocks = weight_gradient_blocks(c_in, c_out, rows.element_size())
    tiles = (
        taps
        * triton.cdiv(c_in, blocks.height + blocks.extra)
        * triton.cdiv(c_out, blocks.width)
    )
    splits, chunk = split_rows(num_out, tiles, blocks.depth)
    partial = rows.new_empty(splits, taps, c_in, c_out, dtype=torch.float32)
    launch(
        _weight_gradient,
        (tiles, splits),
        rows,
        grad,
        table.contiguous(),
        partial,
        num_out,
        rows.size(0),
        chunk,
        C_IN=c_in,
        C_OUT=c_out,
        TAPS=taps,
        EXTRA=blocks.extra,
        PRECISION=precision(),
        **blocks.options(),
    )
    return partial.sum(0)


@operator(
    lambda rows, grad, table: rows.new_empty(
        table.size(1), rows.size(1), dtype=torch.float32
    )
)
def depthwise_weight_gradient(
    rows: Tensor, grad: Tensor, table: Tensor
) -> Tensor:
    """Compute ``(rows[table[:, tap]] * grad).sum(0)`` of every tap.

    Args:
        rows (Tensor): ``(N, C)``.
        grad (Tensor): Gradient of the output, ``(n, C)``.
        table (Tensor): ``(n, taps)`` int32; row ``N`` reads as zero.

    Returns:
        Tensor: ``(taps, C)`` float32.
    """
    rows, grad = rows.contiguous(), grad.contiguous()
    (num_out, taps), channels = table.shape, rows.size(1)
    height, width = depthwise_blocks(channels)
    tiles = taps * triton.cdiv(channels, width)
    splits, chunk = split_rows(num_out, tiles, height)
    partial = rows.new_empty(splits, taps, channels, dtype=torch.float32)
    launch(
        _depthwise_weight_gradient,
        (tiles, splits),
        rows,
        grad,
        table.contiguous(),
        partial,
        num_out,
        rows.size(0),
        chunk,
        CHANNELS=channels,
        TAPS=taps,
        HEIGHT=height,
        WIDTH=width,
    )
    return partial.sum(0)


@triton.jit
def _weight_gradient(
    rows,
    grad,
    table,
    partial,
    num_out,
    num_in,
    chunk,
    C_IN: tl.constexpr,
    C_OUT: tl.constexpr,
    TAPS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    EXTRA: tl.constexpr,
    PRECISION: tl.constexpr,
):
    # Tiles of one chunk of rows run together and share it in L2.
    tile, split = tl.program_id(0), tl.program_id(1).to(tl.int64)
    column_tiles = tl.cdiv(C_OUT, WIDTH)
    tap = tile % TAPS
    column = tile // TAPS % column_tiles * WIDTH + tl.arange(0, WIDTH)
    first = tile // (TAPS * column_tiles) * (HEIGHT + EXTRA)
    channel = first + tl.arange(0, HEIGHT)
    in_channels, in_columns = channel < C_IN, column < C_OUT
    total = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    if EXTRA > 0:
        extra = first + HEIGHT + tl.arange(0, EXTRA)
        in_extra = extra < C_IN
        extra_total = tl.zeros((EXTRA, WIDTH), dtype=tl.float32)
    for start in range(0, chunk, DEPTH):
        row = split * chunk + start + tl.arange(0, DEPTH)
        in_rows = row < num_out
        read = tl.load(table + row * TAPS + tap, mask=in_rows, other=num_in)
        place = rows + read.to(tl.int64)[:, None] * C_IN
        visible = (read < num_in)[:, None]
        a = tl.load(
            place + channel[None, :],
            mask=visible & in_channels[None, :],
            other=0.0,
        )
        b = tl.load(
            grad + row[:, None] * C_OUT + column[None, :],
            mask=in_rows[:, None] & in_columns[None, :],
            other=0.0,
        )
        total = tl.dot(tl.trans(a), b, total, input_precision=PRECISION)
        if EXTRA > 0:
            a = tl.load(
                place + extra[None, :],
                mask=visible & in_extra[None, :],
                other=0.0,
            )
            extra_total = tl.dot(
                tl.trans(a), b, extra_total, input_precision=PRECISION
            )
    place = partial + (split * TAPS + tap) * C_IN * C_OUT + column[None, :]
    tl.store(
        place + channel[:, None] * C_OUT,
        total,
        mask=in_channels[:, None] & in_columns[None, :],
    )
    if EXTRA > 0:
        tl.store(
            place + extra[:, None] * C_OUT,
            extra_total,
            mask=in_extra[:, None] & in_columns[None, :],
        )


@triton.jit
def _depthwise_weight_gradient(
    rows,
    grad,
    table,
    partial,
    num_out,
    num_in,
    chunk,
    CHANNELS: tl.constexpr,
    TAPS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    tile, split = tl.program_id(0), tl.program_id(1).to(tl.int64)
    tap = tile % TAPS
    channel = tile // TAPS * WIDTH + tl.arange(0, WIDTH)
    in_channels = channel < CHANNELS
    total = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    for start in range(0, chunk, HEIGHT):
        row = split * chunk + start + tl.arange(0, HEIGHT)
        in_rows = row < num_out
        read = tl.load(table + row * TAPS + tap, mask=in_rows, other=num_in)
        value = tl.load(
            rows + read.to(tl.int64)[:, None] * CHANNELS + channel[None, :],
            mask=(read < num_in)[:, None] & in_channels[None, :],
            other=0.0,
        )
        factor = tl.load(
            grad + row[:, None] * CHANNELS + channel[None, :],
            mask=in_rows[:, None] & in_channels[None, :],
            other=0.0,
        )
        total += value.to(tl.float32) * factor.to(tl.float32)
    tl.store(
        partial + (split * TAPS + tap) * CHANNELS + channel,
        tl.sum(total, 0),
        mask=in_channels,
    )
