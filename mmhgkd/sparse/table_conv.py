from typing import Any

import torch
from torch import Tensor

from .geometry import Geometry
from .rows import gather, interleave
from .window import Window


def table_conv(
    rows: Tensor,
    weight: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
    groups: int,
    triton: bool = False,
) -> Tensor:
    """Convolve by gathering what each output reads into one product.

    Shapes are static and both gradients gather as well: the input gradient
    is a convolution of the output gradient with the transposed tables. So it
    compiles, and on an accelerator it needs neither atomics nor a wait.

    With ``triton`` the Triton kernels compute the products, without writing
    down what is read; they take one group, or as many as channels.

    See :func:`mmhgkd.sparse.gather_conv.gather_conv`.
    """
    phases = geometry.phases(stride, window) if rows.requires_grad else ()
    return _TableConv.apply(
        rows,
        weight,
        geometry.table(stride, window),
        (geometry.mask.block(stride), window.stride, groups, triton),
        tuple(phase.taps for phase in phases),
        *(phase.table for phase in phases),
    )


def weight_gradient(
    rows: Tensor,
    grad: Tensor,
    table: Tensor,
    weight: Tensor,
    groups: int,
    triton: bool = False,
) -> Tensor:
    """Gradient of the weight by one product with what was read.

    Args:
        rows (Tensor): Input, ``(N_in, C_in)``.
        grad (Tensor): Gradient of the output, ``(N_out, C_out)``.
        table (Tensor): ``(N_out, taps)``, see :meth:`Geometry.table`.
        weight (Tensor): ``(C_out, C_in / groups, height, width)``.
        groups (int): Groups of channels.
        triton (bool): See :func:`table_conv`. Defaults to False.

    Returns:
        Tensor: Of the shape of ``weight``.
    """
    if triton:
        from .triton import weight_gradient as kernels

        if groups == 1:
            by_tap = kernels.weight_gradient(rows, grad, table)
        else:
            taps = kernels.depthwise_weight_gradient(rows, grad, table)
            by_tap = taps[:, None]
        by_tap = by_tap.permute(2, 1, 0)
        return by_tap.reshape(weight.shape).to(weight.dtype)
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
        options: tuple[int, int, int, bool],
        taps: tuple[tuple[int, ...], ...],
        *phases: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(rows, weight, table, *phases)
        ctx.options, ctx.taps = options, taps
        *_, groups, triton = options
        return _product(rows, _by_tap(weight, groups), table, triton)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, table, *phases = ctx.saved_tensors
        block, stride, groups, triton = ctx.options
        d_rows = d_weight = None
        if ctx.needs_input_grad[0]:
            by_tap = _by_tap(weight, groups).transpose(2, 3)
            parts = []
            for taps, phase in zip(ctx.taps, phases, strict=True):
                if taps:
                    read = torch.stack([by_tap[tap] for tap in taps])
                    part = _product(grad, read, phase, triton)
                else:
                    part = rows.new_zeros(phase.size(0), rows.size(1))
                parts.append(part)
            d_rows = interleave(parts, block, stride)
        if ctx.needs_input_grad[1]:
            d_weight = weight_gradient(
                rows, grad, table, weight, groups, triton
            )
        return d_rows, d_weight, *[None] * (3 + len(phases))


def _by_tap(weight: Tensor, groups: int) -> Tensor:
    """Weight as ``(taps, groups, C_in / groups, C_out / groups)``."""
    return weight.flatten(2).unflatten(0, (groups, -1)).permute(3, 0, 2, 1)


def _product(
    rows: Tensor, weight: Tensor, table: Tensor, triton: bool
) -> Tensor:
    """Sum over the taps of the rows at ``table`` times the weight."""
    if triton:
        from .triton import gather_gemm as kernels

        if weight.size(1) == 1:
            return kernels.gather_gemm(rows, weight[:, 0], table)
        return kernels.gather_depthwise(rows, weight[:, :, 0, 0], table)
    # einsum contracts in alphabetical order: with t(aps) before x (input
    # channels) and y (output channels) it need not copy what was read.
    read = gather(rows, table).unflatten(2, (weight.size(1), -1))
    return torch.einsum('ntgx,tgxy->ngy', read, weight).flatten(1)
