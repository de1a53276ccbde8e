import torch
from torch import Tensor

from mmhgkd.utils import ConfigError


class MissingOperatorError(ConfigError, NotImplementedError):
    """A model calls an operator that needs MMCV's compiled extension.

    Args:
        name (str): The operator, as MMCV calls it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f'the operator `{name}` of MMCV is not among those that mmhgkd '
            'provides on torchvision; install MMCV with its compiled '
            'operators (`mmcv._ext`), or choose a model without this one'
        )


def at_least_single(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Half precision tensors as fp32, all others as they are.

    torchvision lacks half precision in some operators on some devices.
    """
    return tuple(
        tensor.float()
        if tensor.dtype in (torch.float16, torch.bfloat16)
        else tensor
        for tensor in tensors
    )
