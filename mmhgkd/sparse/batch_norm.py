from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.distributed import _functional_collectives as collectives
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError


@MODELS.register_module()
class DistributedBatchNorm(nn.BatchNorm2d):
    """Batch normalization whose statistics span all ranks.

    Unlike ``torch.nn.SyncBatchNorm`` it also runs on CPU with gloo, and it
    takes packed rows ``(N, C)`` as well as maps ``(B, C, H, W)``. In one
    process it is plain batch normalization. Every rank must bring the same
    number of positions, which a constant mask count ensures.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C)`` or ``(B, C, H, W)``."""
        self._check_input_dim(input)
        return batch_norm(self, input)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(
                f'expected (N, C) or (B, C, H, W), got a tensor '
                f'of shape {tuple(input.shape)}'
            )


class DistributedBatchNormAct(DistributedBatchNorm):
    """Synchronized form of timm's ``BatchNormAct2d``.

    It runs where :class:`DistributedBatchNorm` runs. The layers ``drop`` and
    ``act``, if it has them, follow the norm.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate ``(N, C)`` or ``(B, C, H, W)``."""
        x = super().forward(input)
        for name in ('drop', 'act'):
            part = getattr(self, name, None)
            if part is not None:
                x = part(x)
        return x


def batch_norm(module: _BatchNorm, x: Tensor) -> Tensor:
    """Apply the batch normalization of ``module`` to rows or maps.

    Args:
        module (_BatchNorm): Any of PyTorch's batch norms. The statistics of
            a synchronized one span all ranks.
        x (Tensor): ``(N, C)`` or ``(B, C, H, W)``.

    Returns:
        Tensor: Of the shape of ``x``.
    """
    training = module.training or module.running_mean is None
    synchronized = isinstance(module, (DistributedBatchNorm, nn.SyncBatchNorm))
    if training and synchronized and get_world_size() > 1:
        return _synchronized(module, x)
    if training and x.numel() == x.size(1):
        raise ConfigError(
            'a batch norm sees one position of one image, which has no '
            'variance; set `train_dataloader.batch_size` to at least 2 (and '
            '`drop_last=True` where the last batch has one image), or lower '
            '`model.mask.mask_ratio`'
        )
    momentum = _count_batch(module) if module.training else 0.0
    return F.batch_norm(
        x,
        module.running_mean,
        module.running_var,
        module.weight,
        module.bias,
        training,
        momentum,
        module.eps,
    )


@torch.no_grad()
def track_statistics(
    module: _BatchNorm, mean: Tensor, variance: Tensor, count: int
) -> None:
    """Update the running statistics of a norm as PyTorch does.

    Args:
        module (_BatchNorm): The norm, in training mode.
        mean (Tensor): Mean of the batch, ``(C, )``.
        variance (Tensor): Biased variance of the batch, ``(C, )``.
        count (int): Positions of the batch.
    """
    momentum = _count_batch(module)
    if module.running_mean is None or module.running_var is None:
        return
    dtype = module.running_mean.dtype
    unbiased = variance * (count / max(count - 1, 1))
    module.running_mean.lerp_(mean.to(dtype), momentum)
    module.running_var.lerp_(unbiased.to(dtype), momentum)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum of a tensor over all ranks; the argument stays as it is.

    A functional collective is part of a compiled graph, the collectives of
    ``torch.distributed`` and ``torch.distributed.nn`` break it.
    """
    group = dist.group.WORLD
    assert group is not None
    total = collectives.all_reduce(values, 'sum', group)
    return collectives.wait_tensor(total)


def _count_batch(module: _BatchNorm) -> float:
    """Count a batch; return its weight in the running statistics."""
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if module.momentum is None:
            return 1 / float(module.num_batches_tracked)
    return module.momentum or 0.0


def _synchronized(module: _BatchNorm, x: Tensor) -> Tensor:
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    # Half precision loses the sums of some thousand positions.
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    count = x.numel() // x.size(1) * get_world_size()
    mean = _SumOverRanks.apply(values.sum(axes)) / count
    centered = values - mean.view(shape)
    variance = _SumOverRanks.apply(centered.square().sum(axes)) / count
    if module.training:
        track_statistics(module, mean, variance, count)
    result = centered * (variance + module.eps).rsqrt().view(shape)
    if module.affine:
        result = result * module.weight.view(shape) + module.bias.view(shape)
    return result.to(x.dtype)


class _SumOverRanks(torch.autograd.Function):
    # Functional collectives have gradients in recent PyTorch only.

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return sum_over_ranks(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_over_ranks(grad.contiguous())
