# mypy: disable-error-code="no-untyped-def"
"""Application and gradients of a batch norm on rows.

Sums over rows are spread over programs and added in a fixed order, so that
results repeat bit for bit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .runtime import launch, operator
from .tuning import norm_blocks, split_rows

__all__ = ['apply_norm', 'norm_gradient', 'norm_gradient_sums']


@operator(
    lambda rows, statistics, weight, bias, eps, residual, factor, relu: (
        rows.new_empty(rows.shape)
    )
)
def apply_norm(
    rows: Tensor,
    statistics: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    residual: Tensor | None,
    factor: Tensor | None,
    relu: bool,
) -> Tensor:
    """Compute ``norm(rows) * factor + residual``, then perhaps ReLU.

    Args:
        rows (Tensor): ``(N, C)``.
        statistics (Tensor): Mean and variance, ``(2, C)`` float32.
        weight (Tensor, optional): ``(C, )``.
        bias (Tensor, optional): ``(C, )``.
        eps (float): Added to the variance.
        residual (Tensor, optional): ``(N, C)``.
        factor (Tensor, optional): Of each image, ``(B, )`` float32.
        relu (bool): Whether ReLU follows.

    Returns:
        Tensor: ``(N, C)``.
    """
    rows = rows.contiguous()
    out = torch.empty_like(rows)
    num_rows, channels = rows.shape
    height, width = norm_blocks(channels)
    launch(
        _apply_norm,
        (triton.cdiv(num_rows, height), triton.cdiv(channels, width)),
        rows,
        statistics.contiguous(),
        statistics if weight is None else weight.contiguous(),
        statistics if bias is None else bias.contiguous(),
        rows if residual is None else residual.contiguous(),
        *_factor(factor, statistics, num_rows),
        out,
        num_rows,
        eps,
        HAS_WEIGHT=weight is not None,
        HAS_BIAS=bias is not None,
        HAS_RESIDUAL=residual is not None,
        HAS_FACTOR=factor is not None,
        RELU=relu,
        CHANNELS=channels,
        HEIGHT=height,
        WIDTH=width,
    )
    return out


@operator(
    lambda grad, rows, out, factor, statistics, eps: rows.new_empty(
        2, rows.size(1), dtype=torch.float32
    )
)
def norm_gradient_sums(
    grad: Tensor,
    rows: Tensor,
    out: Tensor | None,
    factor: Tensor | None,
    statistics: Tensor,
    eps: float,
) -> Tensor:
    """Sums over rows of the gradient, and of it times the normalized rows.

    Args:
        grad (Tensor): Gradient of the output, ``(N, C)``.
        rows (Tensor): Input of the norm, ``(N, C)``.
        out (Tensor, optional): Output, ``(N, C)``, if ReLU made it.
        factor (Tensor, optional): See :func:`apply_norm`.
        statistics (Tensor): See :func:`apply_norm`.
        eps (float): See :func:`apply_norm`.

    Returns:
        Tensor: ``(2, C)`` float32.
    """
    grad, rows = grad.contiguous(), rows.contiguous()
    num_rows, channels = rows.shape
    height, width = norm_blocks(channels)
    tiles = triton.cdiv(channels, width)
    splits, chunk = split_rows(num_rows, tiles, height)
    partial = rows.new_empty(splits, 2, channels, dtype=torch.float32)
    launch(
        _norm_gradient_sums,
        (tiles, splits),
        grad,
        rows,
        rows if out is None else out.contiguous(),
        *_factor(factor, statistics, num_rows),
        statistics.contiguous(),
        partial,
        num_rows,
        chunk,
        eps,
        HAS_FACTOR=factor is not None,
        RELU=out is not None,
        CHANNELS=channels,
        HEIGHT=height,
        WIDTH=width,
    )
    return partial.sum(0)


@operator(
    lambda grad, rows, *options: (
        rows.new_empty(rows.shape),
        rows.new_empty(rows.shape if options[-1] else (0,)),
    )
)
def norm_gradient(
    grad: Tensor,
    rows: Tensor,
    out: Tensor | None,
    factor: Tensor | None,
    statistics: Tensor,
    weight: Tensor | None,
    eps: float,
    sums: Tensor | None,
    count: int,
    residual: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of the rows and of the residual.

    The latter is the gradient where ReLU passed.

    Args:
        grad (Tensor): Gradient of the output, ``(N, C)``.
        rows (Tensor): Input of the norm, ``(N, C)``.
        out (Tensor, optional): Output, ``(N, C)``, if ReLU made it.
        factor (Tensor, optional): See :func:`apply_norm`.
        statistics (Tensor): See :func:`apply_norm`.
        weight (Tensor, optional): See :func:`apply_norm`.
        eps (float): See :func:`apply_norm`.
        sums (Tensor, optional): Those of :func:`norm_gradient_sums` over all
            ranks, if the statistics depend on the rows.
        count (int): Rows of all ranks.
        residual (bool): Whether the gradient of the residual is wanted.

    Returns:
        tuple[Tensor]: ``(N, C)`` each; the second is empty if not wanted.
    """
    grad, rows = grad.contiguous(), rows.contiguous()
    num_rows, channels = rows.shape
    d_rows = torch.empty_like(rows)
    d_residual = rows.new_empty(rows.shape if residual else (0,))
    height, width = norm_blocks(channels)
    launch(
        _norm_gradient,
        (triton.cdiv(num_rows, height), triton.cdiv(channels, width)),
        grad,
        rows,
        rows if out is None else out.contiguous(),
        *_factor(factor, statistics, num_rows),
        statistics.contiguous(),
        statistics if weight is None else weight.contiguous(),
        statistics if sums is None else sums.contiguous(),
        d_rows,
        d_residual,
        num_rows,
        count,
        eps,
        HAS_WEIGHT=weight is not None,
        HAS_SUMS=sums is not None,
        HAS_FACTOR=factor is not None,
        RELU=out is not None,
        RESIDUAL=residual,
        CHANNELS=channels,
        HEIGHT=height,
        WIDTH=width,
    )
    return d_rows, d_residual


def _factor(
    factor: Tensor | None, unused: Tensor, num_rows: int
) -> tuple[Tensor, int]:
    """Factors of the images and rows of each, for a kernel."""
    if factor is None:
        return unused, num_rows
    return factor.contiguous(), num_rows // factor.numel()


@triton.jit
def _scale(value, factor, row, num_rows, image_rows):
    """Multiply the rows of each image by its factor."""
    image = row.to(tl.int32) // image_rows
    return value * tl.load(factor + image, row < num_rows, 0.0)[:, None]


@triton.jit
def _mean_and_inverse(
    statistics, channel, in_channels, eps, CHANNELS: tl.constexpr
):
    mean = tl.load(statistics + channel, in_channels, 0.0)
    variance = tl.load(statistics + CHANNELS + channel, in_channels, 1.0)
    return mean, tl.rsqrt(variance + eps)


@triton.jit
def _apply_norm(
    rows,
    statistics,
    weight,
    bias,
    residual,
    factor,
    image_rows,
    out,
    num_rows,
    eps,
    HAS_WEIGHT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    RELU: tl.constexpr,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * HEIGHT + tl.arange(0, HEIGHT)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    in_channels = channel < CHANNELS
    inside = (row < num_rows)[:, None] & in_channels[None, :]
    place = row[:, None] * CHANNELS + channel[None, :]
    value = tl.load(rows + place, mask=inside, other=0.0).to(tl.float32)
    mean, scale = _mean_and_inverse(
        statistics, channel, in_channels, eps, CHANNELS
    )
    if HAS_WEIGHT:
        scale *= tl.load(weight + channel, in_channels, 0.0).to(tl.float32)
    value = (value - mean[None, :]) * scale[None, :]
    if HAS_BIAS:
        shift = tl.load(bias + channel, in_channels, 0.0).to(tl.float32)
        value += shift[None, :]
    if HAS_FACTOR:
        value = _scale(value, factor, row, num_rows, image_rows)
    if HAS_RESIDUAL:
        value += tl.load(residual + place, mask=inside, other=0.0).to(
            tl.float32
        )
    if RELU:
        # Unlike a maximum it keeps NaN.
        value = tl.where(value < 0, 0.0, value)
    tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _norm_gradient_sums(
    grad,
    rows,
    out,
    factor,
    image_rows,
    statistics,
    partial,
    num_rows,
    chunk,
    eps,
    HAS_FACTOR: tl.constexpr,
    RELU: tl.constexpr,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    channel = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    split = tl.program_id(1).to(tl.int64)
    in_channels = channel < CHANNELS
    mean, inverse = _mean_and_inverse(
        statistics, channel, in_channels, eps, CHANNELS
    )
    plain = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    weighted = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    for start in range(0, chunk, HEIGHT):
        row = split * chunk + start + tl.arange(0, HEIGHT)
        inside = (row < num_rows)[:, None] & in_channels[None, :]
        place = row[:, None] * CHANNELS + channel[None, :]
        value = tl.load(rows + place, mask=inside, other=0.0).to(tl.float32)
        slope = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
        if RELU:
            after = tl.load(out + place, mask=inside, other=0.0)
            slope = tl.where(after > 0, slope, 0.0)
        if HAS_FACTOR:
            slope = _scale(slope, factor, row, num_rows, image_rows)
        plain += slope
        weighted += slope * (value - mean[None, :])
    place = partial + split * 2 * CHANNELS + channel
    tl.store(place, tl.sum(plain, 0), mask=in_channels)
    tl.store(place + CHANNELS, tl.sum(weighted, 0) * inverse, mask=in_channels)


@triton.jit
def _norm_gradient(
    grad,
    rows,
    out,
    factor,
    image_rows,
    statistics,
    weight,
    sums,
    d_rows,
    d_residual,
    num_rows,
    count,
    eps,
    HAS_WEIGHT: tl.constexpr,
    HAS_SUMS: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    RELU: tl.constexpr,
    RESIDUAL: tl.constexpr,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * HEIGHT + tl.arange(0, HEIGHT)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    in_channels = channel < CHANNELS
    inside = (row < num_rows)[:, None] & in_channels[None, :]
    place = row[:, None] * CHANNELS + channel[None, :]
    value = tl.load(rows + place, mask=inside, other=0.0).to(tl.float32)
    slope = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
    if RELU:
        after = tl.load(out + place, mask=inside, other=0.0)
        slope = tl.where(after > 0, slope, 0.0)
    if RESIDUAL:
        tl.store(
            d_residual + place,
            slope.to(d_residual.dtype.element_ty),
            mask=inside,
        )
    if HAS_FACTOR:
        slope = _scale(slope, factor, row, num_rows, image_rows)
    mean, inverse = _mean_and_inverse(
        statistics, channel, in_channels, eps, CHANNELS
    )
    scale = inverse
    if HAS_WEIGHT:
        scale *= tl.load(weight + channel, in_channels, 0.0).to(tl.float32)
    if HAS_SUMS:
        plain = tl.load(sums + channel, in_channels, 0.0) / count
        weighted = tl.load(sums + CHANNELS + channel, in_channels, 0.0) / count
        slope -= (value - mean[None, :]) * (weighted * inverse)[None, :]
        slope -= plain[None, :]
    value = slope * scale[None, :]
    tl.store(d_rows + place, value.to(d_rows.dtype.element_ty), mask=inside)
