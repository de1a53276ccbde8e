from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.sparse import DistributedBatchNorm, DistributedBatchNormAct
from mmhgkd.sparse.layers import NORM, sparse_form

__all__ = ['synchronize_norms']


def synchronize_norms(
    network: nn.Module, kind: type[_BatchNorm] = _BatchNorm
) -> None:
    """Make batch norms synchronized ones that run on any device, in place.

    PyTorch's ``SyncBatchNorm`` raises on the CPU, and its conversion drops
    the activation in timm's norms. Parameters, buffers and the keys of the
    state dict stay.

    Args:
        network (nn.Module): The network.
        kind (type): Which batch norms. Defaults to all.
    """
    for module in network.modules():
        form = sparse_form(module)
        if (
            isinstance(module, kind)
            and form is not None
            and not isinstance(module, DistributedBatchNorm)
        ):
            module.__class__ = (
                DistributedBatchNorm
                if form is NORM
                else DistributedBatchNormAct
            )
