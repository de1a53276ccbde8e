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
    lambda rows, coefficients, residual, relu: rows.new_empty(rows.shape)
)
def apply_norm(
    rows: Tensor, coefficients: Tensor, residual: Tensor | None, relu: bool
) -> Tensor:
    """Compute ``(rows - m) * a + b (+ residual)``, then perhaps ReLU.

    Args:
        rows (Tensor): ``(N, C)``.
        coefficients (Tensor): ``m``, ``a`` and ``b``, ``(3, C)`` float32.
        residual (Tensor, optional): ``(N, C)``.
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
        coefficients.contiguous(),
        rows if residual is None else residual.contiguous(),
        out,
        num_rows,
        HAS_RESIDUAL=residual is not None,
        RELU=relu,
        CHANNELS=channels,
        HEIGHT=height,
        WIDTH=width,
    )
    return out


@operator(
    lambda grad, rows, out, mean, inverse_std: rows.new_empty(
        2, rows.size(1), dtype=torch.float32
    )
)
def norm_gradient_sums(
    grad: Tensor,
    rows: Tensor,
    out: Tensor | None,
    mean: Tensor,
    inverse_std: Tensor,
) -> Tensor:
    """Sums over rows of the gradient, and of it times the normalized rows.

    Args:
        grad (Tensor): Gradient of the output, ``(N, C)``.
        rows (Tensor): Input of the norm, ``(N, C)``.
        out (Tensor, optional): Output, ``(N, C)``, if ReLU made it.
        mean (Tensor): ``(C, )`` float32.
        inverse_std (Tensor): ``(C, )`` float32.

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
        mean.contiguous(),
        inverse_std.contiguous(),
        partial,
        num_rows,
        chunk,
        RELU=out is not None,
        CHANNELS=channels,
        HEIGHT=height,
        WIDTH=width,
    )
    return partial.sum(0)


@operator(
    lambda grad, rows, out, coefficients, residual: (
        rows.new_empty(rows.shape),
        rows.new_empty(rows.shape if residual else (0,)),
    )
)
def norm_gradient(
    grad: Tensor,
    rows: Tensor,
    out: Tensor | None,
    coefficients: Tensor,
    residual: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of the rows and of the residual.

    With ``g`` the gradient where ReLU passed, the former is
    ``a * g + b * (rows - m) + c``.

    Args:
        grad (Tensor): Gradient of the output, ``(N, C)``.
        rows (Tensor): Input of the norm, ``(N, C)``.
        out (Tensor, optional): Output, ``(N, C)``, if ReLU made it.
        coefficients (Tensor): ``m``, ``a``, ``b`` and ``c``, ``(4, C)``
            float32.
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
        coefficients.contiguous(),
        d_rows,
        d_residual,
        num_rows,
        RELU=out is not None,
        RESIDUAL=residual,
        CHANNELS=channels,
        HEIGHT=height,
        WIDTH=width,
    )
    return d_rows, d_residual


@triton.jit
def _apply_norm(
    rows,
    coefficients,
    residual,
    out,
    num_rows,
    HAS_RESIDUAL: tl.constexpr,
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
    m = tl.load(coefficients + channel, mask=in_channels, other=0.0)
    a = tl.load(coefficients + CHANNELS + channel, mask=in_channels, other=0.0)
    b = tl.load(
        coefficients + 2 * CHANNELS + channel, mask=in_channels, other=0.0
    )
    value = (value - m[None, :]) * a[None, :] + b[None, :]
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
    mean,
    inverse_std,
    partial,
    num_rows,
    chunk,
    RELU: tl.constexpr,
    CHANNELS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    channel = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    split = tl.program_id(1).to(tl.int64)
    in_channels = channel < CHANNELS
    center = tl.load(mean + channel, mask=in_channels, other=0.0)
    factor = tl.load(inverse_std + channel, mask=in_channels, other=0.0)
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
        plain += slope
        weighted += slope * (value - center[None, :])
    place = partial + split * 2 * CHANNELS + channel
    tl.store(place, tl.sum(plain, 0), mask=in_channels)
    tl.store(place + CHANNELS, tl.sum(weighted, 0) * factor, mask=in_channels)


@triton.jit
def _norm_gradient(
    grad,
    rows,
    out,
    coefficients,
    d_rows,
    d_residual,
    num_rows,
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
    m = tl.load(coefficients + channel, mask=in_channels, other=0.0)
    a = tl.load(coefficients + CHANNELS + channel, mask=in_channels, other=0.0)
    b = tl.load(
        coefficients + 2 * CHANNELS + channel, mask=in_channels, other=0.0
    )
    c = tl.load(
        coefficients + 3 * CHANNELS + channel, mask=in_channels, other=0.0
    )
    value = slope * a[None, :] + (value - m[None, :]) * b[None, :] + c[None, :]
    tl.store(d_rows + place, value.to(d_rows.dtype.element_ty), mask=inside)
