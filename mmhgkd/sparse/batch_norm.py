import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.registry import MODELS


@MODELS.register_module()
class SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics span all ranks.

    Unlike ``torch.nn.SyncBatchNorm`` it also runs on CPU with gloo, and it
    takes packed rows ``(N, C)`` as well as maps ``(B, C, H, W)``. In one
    process it is plain batch normalisation. Every rank must bring the same
    number of positions, which a constant mask count ensures.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C)`` or ``(B, C, H, W)``."""
        self._check_input_dim(input)
        return batch_norm(self, input)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f'expected (N, C) or (B, C, H, W), got a tensor '
                             f'of shape {tuple(input.shape)}')


def batch_norm(module: _BatchNorm, x: Tensor) -> Tensor:
    """Apply the batch normalisation of ``module`` to rows or maps.

    Args:
        module (_BatchNorm): Any of PyTorch's batch norms. The statistics of
            a synchronised one span all ranks.
        x (Tensor): ``(N, C)`` or ``(B, C, H, W)``.

    Returns:
        Tensor: Of the shape of ``x``.
    """
    training = module.training or module.running_mean is None
    momentum = 0.0 if module.momentum is None else module.momentum
    if module.training and module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if module.momentum is None:
            momentum = 1 / float(module.num_batches_tracked)
    synchronised = isinstance(module, (SyncBatchNorm, nn.SyncBatchNorm))
    if training and synchronised and get_world_size() > 1:
        return _synchronised(module, x, momentum)
    return F.batch_norm(x, module.running_mean, module.running_var,
                        module.weight, module.bias, training, momentum,
                        module.eps)


def _synchronised(module: _BatchNorm, x: Tensor, momentum: float) -> Tensor:
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    # Half precision loses the sums of some thousand positions.
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    count = x.numel() // x.size(1) * get_world_size()
    mean = all_reduce(values.sum(axes)) / count
    centred = values - mean.view(shape)
    variance = all_reduce(centred.square().sum(axes)) / count
    if (module.training and module.running_mean is not None
            and module.running_var is not None):
        with torch.no_grad():
            unbiased = variance * (count / max(count - 1, 1))
            module.running_mean.lerp_(
                mean.to(module.running_mean.dtype), momentum)
            module.running_var.lerp_(
                unbiased.to(module.running_var.dtype), momentum)
    result = centred * (variance + module.eps).rsqrt().view(shape)
    if module.affine:
        result = result * module.weight.view(shape) + module.bias.view(shape)
    return result.to(x.dtype)
