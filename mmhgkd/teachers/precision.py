"""In which precision a frozen teacher computes."""

from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.device import get_device
from torch import nn

from mmhgkd.sparse.layers import forward_class
from mmhgkd.utils import one_of
from mmhgkd.utils.bfloat16 import multiplies_bfloat16

PRECISIONS = ('training', 'bfloat16', 'auto')


def computes_bfloat16(precision: str) -> bool:
    """Whether a teacher computes in bfloat16, whatever the training does.

    Args:
        precision (str): One of ``PRECISIONS``.

    Raises:
        ConfigError: If it is none of these.
    """
    one_of('`teacher.precision`', precision, PRECISIONS)
    if precision == 'auto':
        return multiplies_bfloat16(get_device())
    return precision == 'bfloat16'


def in_bfloat16(
    enabled: bool, device: torch.device
) -> AbstractContextManager[None]:
    """Autocast to bfloat16, or what is set outside.

    Args:
        enabled (bool): Whether to do it.
        device (torch.device): Where the images are.
    """
    if not enabled:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def round_weights(network: nn.Module) -> None:
    """Keep the weights of products in bfloat16.

    Autocast rounds those of a frozen network anew in each step. The result is
    the same, in half the memory. Layers that change their weights before they
    use them stay as they are.
    """
    for layer in network.modules():
        if forward_class(layer) in (nn.Linear, nn.Conv2d):
            layer.to(torch.bfloat16)
