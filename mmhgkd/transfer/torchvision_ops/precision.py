import torch
from torch import Tensor


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
