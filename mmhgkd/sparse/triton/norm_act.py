from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.sparse.batch_norm import (
    DistributedBatchNorm,
    sum_over_ranks,
    track_statistics,
)

from .norm_kernels import apply_norm, norm_gradient, norm_gradient_sums
from .row_statistics import row_statistics

__all__ = ['norm_act']


def norm_act(
    module: _BatchNorm,
    rows: Tensor,
    residual: Tensor | None = None,
    relu: bool = False,
    factor: Tensor | None = None,
) -> Tensor:
    """Batch norm, residual addition and ReLU in two passes over the rows.

    It computes what :func:`mmhgkd.sparse.batch_norm.batch_norm` does, with
    statistics in float32.

    Args:
        module (_BatchNorm): Any of PyTorch's batch norms. The statistics of
            a synchronized one span all ranks.
        rows (Tensor): ``(N, C)``.
        residual (Tensor, optional): Added before ReLU, ``(N, C)``. Defaults
            to None.
        relu (bool): Whether ReLU follows. Defaults to False.
        factor (Tensor, optional): What each image is multiplied by before
            the residual is added, ``(B, )``. Defaults to None.

    Returns:
        Tensor: ``(N, C)``.
    """
    running = None
    if (
        not module.training
        and module.running_mean is not None
        and module.running_var is not None
    ):
        running = torch.stack([module.running_mean, module.running_var])
    synchronized = isinstance(module, (DistributedBatchNorm, nn.SyncBatchNorm))
    ranks = get_world_size() if synchronized and running is None else 1
    out, statistics = _NormAct.apply(
        rows,
        module.weight,
        module.bias,
        residual,
        factor,
        running,
        module.eps,
        relu,
        ranks,
    )
    if module.training:
        mean, variance = statistics
        track_statistics(module, mean, variance, rows.size(0) * ranks)
    return out


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        factor: Tensor | None,
        running: Tensor | None,
        eps: float,
        relu: bool,
        ranks: int,
    ) -> tuple[Tensor, Tensor]:
        if running is None:
            statistics = _statistics(rows, ranks)
        else:
            statistics = running.float()
        if factor is not None:
            factor = factor.float()
        out = apply_norm(
            rows, statistics, weight, bias, eps, residual, factor, relu
        )
        ctx.save_for_backward(
            rows, weight, factor, statistics, out if relu else None
        )
        ctx.eps = eps
        ctx.ranks, ctx.batch_statistics = ranks, running is None
        ctx.mark_non_differentiable(statistics)
        return out, statistics

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor, _: Tensor
    ) -> tuple[Tensor | None, ...]:
        rows, weight, factor, statistics, out = ctx.saved_tensors
        sums = norm_gradient_sums(grad, rows, out, factor, statistics, ctx.eps)
        d_weight = d_bias = None
        if weight is not None:
            d_bias, d_weight = sums.to(weight.dtype)
        batch = ctx.batch_statistics
        # Without ReLU the gradient of the residual is that of the output.
        wanted = ctx.needs_input_grad[3]
        d_rows, d_residual = norm_gradient(
            grad,
            rows,
            out,
            factor,
            statistics,
            weight,
            ctx.eps,
            _all_reduce(sums, ctx.ranks) if batch else None,
            rows.size(0) * ctx.ranks,
            wanted and out is not None,
        )
        if not wanted:
            d_residual = None
        elif out is None:
            d_residual = grad
        return d_rows, d_weight, d_bias, d_residual, *[None] * 5


def _statistics(rows: Tensor, ranks: int) -> Tensor:
    """Mean and biased variance over all ranks, ``(2, C)``."""
    statistics = row_statistics(rows)
    if ranks == 1:
        return statistics
    own, variance = statistics
    mean = _all_reduce(own, ranks) / ranks
    variance = variance + (own - mean).square()
    return torch.stack([mean, _all_reduce(variance, ranks) / ranks])


def _all_reduce(values: Tensor, ranks: int) -> Tensor:
    """Sum over ranks; the argument stays as it is."""
    return values if ranks == 1 else sum_over_ranks(values)
