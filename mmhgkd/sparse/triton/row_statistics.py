# mypy: disable-error-code="no-untyped-def"
"""Statistics of batch norm: partial ones, merged in a fixed order."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .runtime import launch, operator
from .tuning import norm_blocks, split_rows

__all__ = ['row_statistics']


@operator(lambda rows: rows.new_empty(2, rows.size(1), dtype=torch.float32))
def row_statistics(rows: Tensor) -> Tensor:
    """Mean and biased variance, by Welford's method.

    Args:
        rows (Tensor): ``(N, C)``.

    Returns:
        Tensor: ``(2, C)`` float32.
    """
    rows = rows.contiguous()
    num_rows, channels = rows.shape
    height, width = norm_blocks(channels)
    tiles = triton.cdiv(channels, width)
    splits, chunk = split_rows(num_rows, tiles, height)
    partial = rows.new_empty(splits, 2, channels, dtype=torch.float32)
    launch(
        _row_statistics,
        (tiles, splits),
        rows,
        partial,
        num_rows,
        chunk,
        ALONE=splits == 1,
        CHANNELS=channels,
        HEIGHT=height,
        WIDTH=width,
    )
    if splits == 1:
        return partial[0]
    out = rows.new_empty(2, channels, dtype=torch.float32)
    launch(
        _merge_statistics,
        (triton.cdiv(channels, 16),),
        partial,
        out,
        num_rows,
        chunk,
        splits,
        CHANNELS=channels,
        HEIGHT=triton.next_power_of_2(splits),
        WIDTH=16,
    )
    return out


@triton.jit
def _row_statistics(
    rows,
    partial,
    num_rows,
    chunk,
    ALONE: tl.constexpr,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    channel = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    split = tl.program_id(1).to(tl.int64)
    in_channels = channel < CHANNELS
    # Every row of the tile keeps statistics of its own, merged at the end.
    count = tl.zeros((HEIGHT,), dtype=tl.float32)
    mean = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    square = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    for start in range(0, chunk, HEIGHT):
        row = split * chunk + start + tl.arange(0, HEIGHT)
        in_rows = row < num_rows
        value = tl.load(
            rows + row[:, None] * CHANNELS + channel[None, :],
            mask=in_rows[:, None] & in_channels[None, :],
            other=0.0,
        ).to(tl.float32)
        count += in_rows.to(tl.float32)
        delta = tl.where(in_rows[:, None], value - mean, 0.0)
        mean += delta * (1.0 / tl.maximum(count, 1.0))[:, None]
        square += delta * (value - mean)
    _store_merged(
        partial + split * 2 * CHANNELS,
        count,
        mean,
        square,
        num_rows if ALONE else 1,
        channel,
        CHANNELS,
    )


@triton.jit
def _merge_statistics(
    partial,
    out,
    num_rows,
    chunk,
    splits,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    channel = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    split = tl.arange(0, HEIGHT)
    inside = (split < splits)[:, None] & (channel < CHANNELS)[None, :]
    place = partial + split[:, None] * 2 * CHANNELS + channel[None, :]
    mean = tl.load(place, mask=inside, other=0.0)
    square = tl.load(place + CHANNELS, mask=inside, other=0.0)
    left = tl.maximum(num_rows - split * chunk, 0)
    count = tl.minimum(left, chunk).to(tl.float32)
    _store_merged(out, count, mean, square, num_rows, channel, CHANNELS)


@triton.jit
def _store_merged(
    out, count, mean, square, divisor, channel, CHANNELS: tl.constexpr
):
    """Store the statistics of the union of samples (Chan et al.)."""
    merged = tl.sum(mean * count[:, None], 0) / tl.sum(count, 0)
    delta = mean - merged[None, :]
    total = tl.sum(square + delta * delta * count[:, None], 0) / divisor
    tl.store(out + channel, merged, mask=channel < CHANNELS)
    tl.store(out + CHANNELS + channel, total, mask=channel < CHANNELS)
