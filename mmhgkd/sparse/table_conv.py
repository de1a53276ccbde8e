from typing import Any

import torch
from torch import Tensor

from .geometry import Geometry
from .triton import uses_triton
from .window import Window


def table_conv(
    rows: Tensor,
    weight: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
    groups: int,
) -> Tensor:
    """Convolve by gathering what each output reads into one product.

    Shapes are static and both gradients gather as well, so it compiles, and
    on an accelerator it needs neither atomics nor a wait.

    See :func:`mmhgkd.sparse.gather_conv.gather_conv`.
    """
    depthwise = groups == rows.size(1) == weight.size(0)
    if uses_triton(rows, weight) and (groups == 1 or depthwise):
        from .triton.conv import triton_conv

        return triton_conv(rows, weight, geometry, stride, window)
    phases = geometry.phases(stride, window) if rows.requires_grad else ()
    return _TableConv.apply(
        rows,
        weight,
        geometry.table(stride, window),
        geometry.mask.block(stride),
        window.stride,
        groups,
        tuple(phase.taps for phase in phases),
        *(phase.table for phase in phases),
    )


def gather(rows: Tensor, table: Tensor, fill: float = 0) -> Tensor:
    """Rows at ``table``; the row one past the last is ``fill``.

    Returns:
        Tensor: ``(*table.shape, C)``.
    """
    rows = torch.cat([rows, rows.new_full((1, rows.size(1)), fill)])
    return rows.index_select(0, table.flatten()).view(
        *table.shape, rows.size(1)
    )


def interleave(phases: list[Tensor], block: int, stride: int) -> Tensor:
    """Put the rows of all phases in packed order.

    Args:
        phases (list[Tensor]): Rows of each phase, ``stride * stride`` times
            ``(n, C)``.
        block (int): Positions along the side of a unit.
        stride (int): Stride of the window.

    Returns:
        Tensor: ``(stride * stride * n, C)``.
    """
    side, channels = block // stride, phases[0].size(1)
    grid = torch.stack(phases).view(stride, stride, -1, side, side, channels)
    return grid.permute(2, 3, 0, 4, 1, 5).reshape(-1, channels)


def weight_gradient(
    rows: Tensor, grad: Tensor, table: Tensor, weight: Tensor, groups: int
) -> Tensor:
    """Gradient of the weight by one product with what was read.

    Args:
        rows (Tensor): Input, ``(N_in, C_in)``.
        grad (Tensor): Gradient of the output, ``(N_out, C_out)``.
        table (Tensor): ``(N_out, taps)``, see :meth:`Geometry.table`.
        weight (Tensor): ``(C_out, C_in / groups, height, width)``.
        groups (int): Groups of channels.

    Returns:
        Tensor: Of the shape of ``weight``.
    """
    read = gather(rows, table).unflatten(2, (groups, -1))
    d_weight = torch.einsum(
        'ngy,ntgx->gytx', grad.unflatten(1, (groups, -1)), read
    )
    return d_weight.transpose(2, 3).reshape(weight.shape)


class _TableConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        table: Tensor,
        block: int,
        stride: int,
        groups: int,
        taps: tuple[tuple[int, ...], ...],
        *phases: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(rows, weight, table, *phases)
        ctx.block, ctx.stride, ctx.groups, ctx.taps = (
            block,
            stride,
            groups,
            taps,
        )
        # einsum contracts in alphabetical order: with t(aps) before x (input
        # channels) and y (output channels) it need not copy what was read.
        read = gather(rows, table).unflatten(2, (groups, -1))
        out = torch.einsum('ntgx,gyxt->ngy', read, _grouped(weight, groups))
        return out.flatten(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, table, *phases = ctx.saved_tensors
        groups = ctx.groups
        d_rows = d_weight = None
        if ctx.needs_input_grad[0]:
            by_tap = _grouped(weight, groups).unbind(3)
            parts = []
            for taps, phase in zip(ctx.taps, phases, strict=True):
                if taps:
                    read = gather(grad, phase).unflatten(2, (groups, -1))
                    part = torch.einsum(
                        'ntgy,tgyx->ngx',
                        read,
                        torch.stack([by_tap[tap] for tap in taps]),
                    ).flatten(1)
                else:
                    part = rows.new_zeros(phase.size(0), rows.size(1))
                parts.append(part)
            d_rows = interleave(parts, ctx.block, ctx.stride)
        if ctx.needs_input_grad[1]:
            d_weight = weight_gradient(rows, grad, table, weight, groups)
        return d_rows, d_weight, *[None] * (5 + len(phases))


def _grouped(weight: Tensor, groups: int) -> Tensor:
    """Weight as ``(groups, C_out / groups, C_in / groups, taps)``."""
    return weight.flatten(2).unflatten(0, (groups, -1))
