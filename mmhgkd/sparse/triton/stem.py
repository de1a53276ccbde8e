# mypy: disable-error-code="no-untyped-def"
"""Convolutions of images, whose few channels fill no tile of a tap.

All taps and channels together are one axis of the product, and the rows that
a window reads are computed from the neighbors of its unit: at 7x7 taps the
table would be larger than the image.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmhgkd.sparse.geometry import Geometry
from mmhgkd.sparse.window import Window

from .runtime import launch, operator, precision
from .tuning import split_rows, stem_blocks

__all__ = ['fits_stem', 'stem', 'stem_conv', 'stem_weight_gradient']

AROUND = Window((3, 3), padding=(1, 1))


def fits_stem(
    rows: Tensor,
    weight: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
) -> bool:
    """Whether :func:`stem_conv` serves this convolution.

    It gives no gradient of the rows, which images do not need.
    """
    block = geometry.mask.block(stride)
    return (
        rows.size(1) <= 4
        and weight.size(1) == rows.size(1)
        and not rows.requires_grad
        and window.is_square
        and window.padding[0] <= block
        and window.reach(0) - window.padding[0] <= block
    )


def stem_conv(
    rows: Tensor,
    weight: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
) -> Tensor:
    """Convolve the visible pixels of images.

    See :func:`mmhgkd.sparse.gather_conv.gather_conv`.
    """
    around = geometry.table(geometry.mask.unit, AROUND)
    shape = [
        geometry.mask.block(stride),
        window.stride,
        window.kernel[0],
        window.padding[0],
        window.dilation[0],
    ]
    return _StemConv.apply(rows, weight, around, shape)


class _StemConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        around: Tensor,
        shape: list[int],
    ) -> Tensor:
        ctx.save_for_backward(rows, weight, around)
        ctx.shape = shape
        return stem(rows, weight.flatten(1), around, shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, around = ctx.saved_tensors
        d_weight = stem_weight_gradient(rows, grad, around, ctx.shape)
        return None, d_weight.view_as(weight).to(weight.dtype), None, None


@operator(
    lambda rows, weight, around, shape: rows.new_empty(
        around.size(0) * (shape[0] // shape[1]) ** 2, weight.size(0)
    )
)
def stem(
    rows: Tensor, weight: Tensor, around: Tensor, shape: list[int]
) -> Tensor:
    """Convolve packed pixels.

    Args:
        rows (Tensor): ``(N_in, C_in)``.
        weight (Tensor): ``(C_out, C_in * taps)``.
        around (Tensor): Numbers of each unit's neighbors and itself,
            ``(U, 9)`` int32; ``U`` is a masked one.
        shape (list[int]): Positions along the side of a unit, stride, then
            taps, padding and dilation along each axis.

    Returns:
        Tensor: ``(N_out, C_out)``.
    """
    rows, weight = rows.contiguous(), weight.contiguous()
    num_units, c_out = around.size(0), weight.size(0)
    num_out = num_units * (shape[0] // shape[1]) ** 2
    out = rows.new_empty(num_out, c_out)
    blocks = stem_blocks(c_out)
    launch(
        _stem,
        (
            triton.cdiv(num_out, blocks.height),
            triton.cdiv(c_out, blocks.width),
        ),
        rows,
        weight,
        around.contiguous(),
        out,
        num_out,
        num_units,
        C_OUT=c_out,
        PRECISION=precision(),
        **blocks.options(),
        **_constants(rows, shape),
    )
    return out


@operator(
    lambda rows, grad, around, shape: rows.new_empty(
        grad.size(1), rows.size(1) * shape[2] ** 2, dtype=torch.float32
    )
)
def stem_weight_gradient(
    rows: Tensor, grad: Tensor, around: Tensor, shape: list[int]
) -> Tensor:
    """Weight gradient of :func:`stem`.

    Args:
        rows (Tensor): ``(N_in, C_in)``.
        grad (Tensor): Gradient of the output, ``(N_out, C_out)``.
        around (Tensor): See :func:`stem`.
        shape (list[int]): See :func:`stem`.

    Returns:
        Tensor: ``(C_out, C_in * taps)`` float32.
    """
    rows, grad = rows.contiguous(), grad.contiguous()
    num_out, c_out = grad.shape
    summands = rows.size(1) * shape[2] ** 2
    blocks = stem_blocks(c_out)
    tiles = triton.cdiv(c_out, blocks.width) * triton.cdiv(
        summands, blocks.depth
    )
    splits, chunk = split_rows(num_out, tiles, blocks.height)
    partial = rows.new_empty(splits, c_out, summands, dtype=torch.float32)
    launch(
        _stem_weight_gradient,
        (tiles, splits),
        rows,
        grad,
        around.contiguous(),
        partial,
        num_out,
        around.size(0),
        chunk,
        C_OUT=c_out,
        PRECISION=precision(),
        **blocks.options(),
        **_constants(rows, shape),
    )
    return partial.sum(0)


def _constants(rows: Tensor, shape: list[int]) -> dict[str, int]:
    names = ('BLOCK', 'STRIDE', 'TAPS', 'PAD', 'DILATION')
    return dict(zip(names, shape, strict=True), C_IN=rows.size(1))


@triton.jit
def _read(
    rows,
    around,
    row,
    summand,
    num_out,
    num_units,
    C_IN: tl.constexpr,
    BLOCK: tl.constexpr,
    STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
    PAD: tl.constexpr,
    DILATION: tl.constexpr,
):
    """What output rows read through each (channel, tap): (rows, summands)."""
    side: tl.constexpr = BLOCK // STRIDE
    # Counted from the corner of the unit above and to the left.
    y = (
        BLOCK
        - PAD
        + (row // side % side * STRIDE)[:, None]
        + (summand // TAPS % TAPS * DILATION)[None, :]
    )
    x = (
        BLOCK
        - PAD
        + (row % side * STRIDE)[:, None]
        + (summand % TAPS * DILATION)[None, :]
    )
    inside = (row < num_out)[:, None] & (summand < C_IN * TAPS * TAPS)[None, :]
    unit = tl.load(
        around
        + (row // (side * side) * 9)[:, None]
        + y // BLOCK * 3
        + x // BLOCK,
        mask=inside,
        other=num_units,
    )
    read = (unit.to(tl.int64) * BLOCK + y % BLOCK) * BLOCK + x % BLOCK
    channel = summand // (TAPS * TAPS)
    return tl.load(
        rows + read * C_IN + channel[None, :],
        mask=inside & (unit < num_units),
        other=0.0,
    )


@triton.jit
def _stem(
    rows,
    weight,
    around,
    out,
    num_out,
    num_units,
    C_IN: tl.constexpr,
    C_OUT: tl.constexpr,
    BLOCK: tl.constexpr,
    STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
    PAD: tl.constexpr,
    DILATION: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    summands: tl.constexpr = C_IN * TAPS * TAPS
    row = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros((HEIGHT, WIDTH), dtype=tl.float32)
    for start in range(0, summands, DEPTH):
        summand = start + tl.arange(0, DEPTH)
        a = _read(
            rows,
            around,
            row,
            summand,
            num_out,
            num_units,
            C_IN,
            BLOCK,
            STRIDE,
            TAPS,
            PAD,
            DILATION,
        )
        b = tl.load(
            weight + column[None, :] * summands + summand[:, None],
            mask=(column < C_OUT)[None, :] & (summand < summands)[:, None],
            other=0.0,
        )
        total = tl.dot(a, b, total, input_precision=PRECISION)
    tl.store(
        out + row.to(tl.int64)[:, None] * C_OUT + column[None, :],
        total.to(out.dtype.element_ty),
        mask=(row < num_out)[:, None] & (column < C_OUT)[None, :],
    )


@triton.jit
def _stem_weight_gradient(
    rows,
    grad,
    around,
    partial,
    num_out,
    num_units,
    chunk,
    C_IN: tl.constexpr,
    C_OUT: tl.constexpr,
    BLOCK: tl.constexpr,
    STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
    PAD: tl.constexpr,
    DILATION: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    summands: tl.constexpr = C_IN * TAPS * TAPS
    tile, split = tl.program_id(0), tl.program_id(1)
    column_tiles = tl.cdiv(C_OUT, WIDTH)
    column = tile % column_tiles * WIDTH + tl.arange(0, WIDTH)
    summand = tile // column_tiles * DEPTH + tl.arange(0, DEPTH)
    in_columns = column < C_OUT
    total = tl.zeros((WIDTH, DEPTH), dtype=tl.float32)
    for start in range(0, chunk, HEIGHT):
        row = split * chunk + start + tl.arange(0, HEIGHT)
        a = tl.load(
            grad + row.to(tl.int64)[:, None] * C_OUT + column[None, :],
            mask=(row < num_out)[:, None] & in_columns[None, :],
            other=0.0,
        )
        b = _read(
            rows,
            around,
            row,
            summand,
            num_out,
            num_units,
            C_IN,
            BLOCK,
            STRIDE,
            TAPS,
            PAD,
            DILATION,
        )
        total = tl.dot(tl.trans(a), b, total, input_precision=PRECISION)
    tl.store(
        partial
        + (split * C_OUT + column[:, None]) * summands
        + summand[None, :],
        total,
        mask=in_columns[:, None] & (summand < summands)[None, :],
    )
