from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .geometry import Geometry, Pairs
from .window import Window


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
