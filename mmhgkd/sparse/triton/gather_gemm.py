# mypy: disable-error-code="no-untyped-def"
"""Products of gathered rows with the weights of each tap."""

import triton
import triton.language as tl
from torch import Tensor

from .runtime import launch, operator, precision
from .tuning import depthwise_blocks, gather_gemm_blocks

__all__ = ['gather_depthwise', 'gather_gemm']


@operator(
    lambda rows, weight, table: rows.new_empty(table.size(0), weight.size(2))
)
def gather_gemm(rows: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """Sum over the taps of ``rows[table[:, tap]] @ weight[tap]``.

    Sums are taken in float32. It has no derivative of its own: the gradients
    are such products too, see :mod:`mmhgkd.sparse.table_conv`.

    Args:
        rows (Tensor): ``(N, C_in)``.
        weight (Tensor): ``(taps, C_in, C_out)``.
        table (Tensor): ``(n, taps)`` int32; row ``N`` reads as zero.

    Returns:
        Tensor: ``(n, C_out)``.
    """
    rows, weight = rows.contiguous(), weight.contiguous()
    (num_out, taps), (c_in, c_out) = table.shape, weight.shape[1:]
    out = rows.new_empty(num_out, c_out)
    blocks = gather_gemm_blocks(c_in, c_out, rows.element_size())
    tiles = triton.cdiv(num_out, blocks.height) * triton.cdiv(
        c_out, blocks.width + blocks.extra
    )
    launch(
        _gather_gemm,
        (tiles,),
        rows,
        weight,
        table.contiguous(),
        out,
        num_out,
        rows.size(0),
        C_IN=c_in,
        C_OUT=c_out,
        TAPS=taps,
        EXTRA=blocks.extra,
        PRECISION=precision(),
        **blocks.options(),
    )
    return out


@operator(
    lambda rows, weight, table: rows.new_empty(table.size(0), rows.size(1))
)
def gather_depthwise(rows: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """Sum over the taps of ``rows[table[:, tap]] * weight[tap]``.

    Args:
        rows (Tensor): ``(N, C)``.
        weight (Tensor): ``(taps, C)``.
        table (Tensor): ``(n, taps)`` int32; row ``N`` reads as zero.

    Returns:
        Tensor: ``(n, C)``.
    """
    rows, weight = rows.contiguous(), weight.contiguous()
    (num_out, taps), channels = table.shape, rows.size(1)
    out = rows.new_empty(num_out, channels)
    height, width = depthwise_blocks(channels)
    launch(
        _gather_depthwise,
        (triton.cdiv(num_out, height), triton.cdiv(channels, width)),
        rows,
        weight,
        table.contiguous(),
        out,
        num_out,
        rows.size(0),
        CHANNELS=channels,
        TAPS=taps,
        HEIGHT=height,
        WIDTH=width,
    )
    return out


@triton.jit
def _gather_gemm(
    rows,
    weight,
    table,
    out,
    num_out,
    num_in,
    C_IN: tl.constexpr,
    C_OUT: tl.constexpr,
    TAPS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    EXTRA: tl.constexpr,
    PRECISION: tl.constexpr,
):
    # Tiles of the same rows come one after another and share them in L2.
    tile = tl.program_id(0)
    column_tiles = tl.cdiv(C_OUT, WIDTH + EXTRA)
    row = (tile // column_tiles).to(tl.int64) * HEIGHT + tl.arange(0, HEIGHT)
    first = tile % column_tiles * (WIDTH + EXTRA)
    column = first + tl.arange(0, WIDTH)
    in_rows, in_columns = row < num_out, column < C_OUT
    # One loop over taps and channels, so that its loads are pipelined across
    # taps.
    steps: tl.constexpr = (C_IN + DEPTH - 1) // DEPTH
    total = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    if EXTRA > 0:
        # Columns that make the tile as wide as no power of two is.
        extra = first + WIDTH + tl.arange(0, EXTRA)
        in_extra = extra < C_OUT
        extra_total = tl.zeros((HEIGHT, EXTRA), dtype=tl.float32)
    for step in range(TAPS * steps):
        tap = step // steps
        channel = step % steps * DEPTH + tl.arange(0, DEPTH)
        read = tl.load(table + row * TAPS + tap, mask=in_rows, other=num_in)
        visible = (read < num_in)[:, None]
        inside = in_columns[None, :]
        if C_IN % DEPTH != 0:
            visible = visible & (channel < C_IN)[None, :]
            inside = inside & (channel < C_IN)[:, None]
        a = tl.load(
            rows + read.to(tl.int64)[:, None] * C_IN + channel[None, :],
            mask=visible,
            other=0.0,
        )
        place = weight + tap * C_IN * C_OUT + channel[:, None] * C_OUT
        b = tl.load(place + column[None, :], mask=inside, other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        if EXTRA > 0:
            inside = in_extra[None, :]
            if C_IN % DEPTH != 0:
                inside = inside & (channel < C_IN)[:, None]
            b = tl.load(place + extra[None, :], mask=inside, other=0.0)
            extra_total = tl.dot(a, b, extra_total, input_precision=PRECISION)
    place = out + row[:, None] * C_OUT
    tl.store(
        place + column[None, :],
        total.to(out.dtype.element_ty),
        mask=in_rows[:, None] & in_columns[None, :],
    )
    if EXTRA > 0:
        tl.store(
            place + extra[None, :],
            extra_total.to(out.dtype.element_ty),
            mask=in_rows[:, None] & in_extra[None, :],
        )


@triton.jit
def _gather_depthwise(
    rows,
    weight,
    table,
    out,
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
    total = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    for tap in range(TAPS):
        read = tl.load(table + row * TAPS + tap, mask=in_rows, other=num_in)
        value = tl.load(
            rows + read.to(tl.int64)[:, None] * CHANNELS + channel[None, :],
            mask=(read < num_in)[:, None] & in_channels[None, :],
            other=0.0,
        )
        factor = tl.load(
            weight + tap * CHANNELS + channel, mask=in_channels, other=0.0
        )
        total += value.to(tl.float32) * factor.to(tl.float32)[None, :]
    tl.store(
        out + row[:, None] * CHANNELS + channel[None, :],
        total.to(out.dtype.element_ty),
        mask=in_rows[:, None] & in_channels[None, :],
    )
