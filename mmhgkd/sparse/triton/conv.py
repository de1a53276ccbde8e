from typing import Any

import torch
from torch import Tensor

from mmhgkd.sparse.geometry import Geometry
from mmhgkd.sparse.table_conv import interleave
from mmhgkd.sparse.window import Window

from .gather_gemm import gather_depthwise, gather_gemm
from .stem import fits_stem, stem
from .weight_gradient import depthwise_weight_gradient, weight_gradient

__all__ = ['triton_conv']


def triton_conv(
    rows: Tensor,
    weight: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
) -> Tensor:
    """Convolve without writing down what the outputs read.

    Both gradients gather as well: the input gradient is a convolution of the
    output gradient with the transposed tables.

    Args:
        rows (Tensor): ``(N_in, C_in)``.
        weight (Tensor): ``(C_out, C_in, *window.kernel)``, or
            ``(C_in, 1, *window.kernel)`` of a depthwise convolution.
        geometry (Geometry): Tables of the mask.
        stride (int): Pixels between two input positions.
        window (Window): The window of the convolution.

    Returns:
        Tensor: ``(N_out, C_out)``.
    """
    if fits_stem(rows, weight, geometry, stride, window):
        return stem(rows, weight, geometry, stride, window)
    phases = geometry.phases(stride, window) if rows.requires_grad else ()
    return _TritonConv.apply(
        rows,
        weight,
        geometry.table(stride, window),
        geometry.mask.block(stride),
        window.stride,
        tuple(phase.taps for phase in phases),
        *(phase.table for phase in phases),
    )


class _TritonConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        table: Tensor,
        block: int,
        stride: int,
        taps: tuple[tuple[int, ...], ...],
        *phases: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(rows, weight, table, *phases)
        ctx.block, ctx.stride, ctx.taps = block, stride, taps
        if _is_depthwise(rows, weight):
            return gather_depthwise(rows, weight.flatten(1).t(), table)
        return gather_gemm(rows, weight.flatten(2).permute(2, 1, 0), table)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, table, *phases = ctx.saved_tensors
        depthwise = _is_depthwise(rows, weight)
        d_rows = d_weight = None
        if ctx.needs_input_grad[0]:
            by_tap = weight.flatten(2).unbind(2)
            parts = []
            for taps, phase in zip(ctx.taps, phases, strict=True):
                if not taps:
                    part = rows.new_zeros(phase.size(0), rows.size(1))
                elif depthwise:
                    read = torch.stack([by_tap[tap][:, 0] for tap in taps])
                    part = gather_depthwise(grad, read, phase)
                else:
                    read = torch.stack([by_tap[tap] for tap in taps])
                    part = gather_gemm(grad, read, phase)
                parts.append(part)
            d_rows = interleave(parts, ctx.block, ctx.stride)
        if ctx.needs_input_grad[1]:
            if depthwise:
                d_taps = depthwise_weight_gradient(rows, grad, table)[:, None]
            else:
                d_taps = weight_gradient(rows, grad, table)
            d_weight = d_taps.permute(2, 1, 0).reshape(weight.shape)
            d_weight = d_weight.to(weight.dtype)
        return d_rows, d_weight, *[None] * (4 + len(phases))


def _is_depthwise(rows: Tensor, weight: Tensor) -> bool:
    return weight.size(1) != rows.size(1)
