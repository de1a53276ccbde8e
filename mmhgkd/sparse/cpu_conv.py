"""Convolutions of packed rows that are fast on the CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from .geometry import Geometry, Pairs, first_reader
from .rows import gather
from .table_conv import weight_gradient
from .window import Window

__all__ = ['halo_conv', 'pair_conv']


def halo_conv(
    rows: Tensor,
    weight: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
    groups: int,
) -> Tensor:
    """Convolve every unit, with the positions around it, densely.

    The input gradient gathers the outputs that read a unit and convolves
    them with the transposed weights, so that no sum over units is needed.

    See :func:`mmhgkd.sparse.gather_conv.gather_conv`.
    """
    readers = (
        geometry.output_halo(stride, window) if rows.requires_grad else None
    )
    # oneDNN's half-precision weight gradient spins while other programs hold
    # a core. A product is as fast, if there are more channels than in images.
    product = rows.element_size() == 2 and groups == 1 and rows.size(1) > 4
    table = geometry.table(stride, window) if product else None
    halo = geometry.halo(stride, window)
    return _HaloConv.apply(
        rows,
        weight,
        halo,
        readers,
        table,
        geometry.mask.block(stride),
        window,
        groups,
    )


class _HaloConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        halo: Tensor,
        readers: Tensor | None,
        table: Tensor | None,
        block: int,
        window: Window,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(rows, weight, halo, readers, table)
        ctx.block, ctx.window, ctx.groups = block, window, groups
        return _rows(
            F.conv2d(
                _maps(rows, halo),
                weight,
                stride=window.stride,
                dilation=window.dilation,
                groups=groups,
            )
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, halo, readers, table = ctx.saved_tensors
        window, groups, block = ctx.window, ctx.groups, ctx.block
        d_rows = d_weight = None
        if ctx.needs_input_grad[0]:
            # The first reader writes to places before the unit: drop those.
            padding = [
                window.padding[axis]
                - first_reader(window, axis) * window.stride
                for axis in range(2)
            ]
            maps = F.conv_transpose2d(
                _maps(grad, readers),
                weight,
                stride=window.stride,
                padding=padding,
                output_padding=window.stride - 1,
                dilation=window.dilation,
                groups=groups,
            )
            d_rows = _rows(maps[:, :, :block, :block])
        if ctx.needs_input_grad[1] and table is not None:
            d_weight = weight_gradient(rows, grad, table, weight, groups)
        elif ctx.needs_input_grad[1]:
            side = block // window.stride
            d_weight = conv2d_weight(
                _maps(rows, halo),
                weight.shape,
                grad.view(-1, side, side, grad.size(1)).permute(0, 3, 1, 2),
                stride=window.stride,
                dilation=window.dilation,
                groups=groups,
            )
        return d_rows, d_weight, *[None] * 6


def _maps(rows: Tensor, halo: Tensor) -> Tensor:
    """Each unit with its halo, ``(units, C, height, width)``."""
    return gather(rows, halo).permute(0, 3, 1, 2)


def _rows(maps: Tensor) -> Tensor:
    """Packed rows of ``(units, C, block, block)``."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.size(1))


def pair_conv(
    rows: Tensor,
    weight: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
) -> Tensor:
    """Convolve tap by tap, with the visible neighbors only.

    It does the least arithmetic, which pays where units are so small that
    most neighbors are masked, but its shapes depend on the mask.

    See :func:`mmhgkd.sparse.gather_conv.gather_conv`.
    """
    return _PairConv.apply(
        rows,
        weight,
        geometry.pairs(stride, window),
        geometry.num_rows(stride * window.stride),
    )


class _PairConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, pairs: Pairs, size: int
    ) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.pairs = pairs
        products = [
            read @ tap.t()
            for read, tap in zip(
                rows.index_select(0, pairs.inputs).split(pairs.sizes),
                _by_tap(weight),
                strict=True,
            )
        ]
        return _sum(products, pairs.outputs, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        pairs = ctx.pairs
        grads = grad.index_select(0, pairs.outputs).split(pairs.sizes)
        d_rows = d_weight = None
        if ctx.needs_input_grad[0]:
            products = [
                read @ tap
                for read, tap in zip(grads, _by_tap(weight), strict=True)
            ]
            d_rows = _sum(products, pairs.inputs, len(rows))
        if ctx.needs_input_grad[1]:
            reads = rows.index_select(0, pairs.inputs).split(pairs.sizes)
            d_taps = torch.stack(
                [x.t() @ y for x, y in zip(grads, reads, strict=True)]
            )
            d_weight = d_taps.permute(1, 2, 0).view(weight.shape)
        return d_rows, d_weight, None, None


def _sum(products: list[Tensor], index: Tensor, size: int) -> Tensor:
    """Sum the products of all taps into ``(size, C)``."""
    values = torch.cat(products)
    # Half precision would spoil the sum.
    dtype = torch.promote_types(values.dtype, torch.float32)
    total = values.new_zeros(size, values.size(1), dtype=dtype)
    return total.index_add_(0, index, values.to(dtype)).to(values.dtype)


def _by_tap(weight: Tensor) -> Tensor:
    """Weight as ``(taps, C_out, C_in)``."""
    return weight.flatten(2).permute(2, 0, 1).contiguous()
