"""In which precision a frozen teacher computes."""

from contextlib import AbstractContextManager, nullcontext

import torch

from mmhgkd.utils import one_of

PRECISIONS = ('training', 'bfloat16', 'auto')
#: Capabilities of x86 processors with products of bfloat16.
_CPU_PRODUCTS = ('avx512_bf16', 'amx_bf16')


def bfloat16_devices(precision: str) -> frozenset[str]:
    """Types of devices on which a teacher computes in bfloat16.

    Args:
        precision (str): One of ``PRECISIONS``.

    Raises:
        ConfigError: If it is none of these.
    """
    one_of('`teacher.precision`', precision, PRECISIONS)
    if precision == 'training':
        return frozenset()
    if precision == 'bfloat16':
        return frozenset(('cpu', 'cuda'))
    found = set()
    capabilities = torch.cpu.get_capabilities()
    if any(capabilities.get(name) for name in _CPU_PRODUCTS):
        found.add('cpu')
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        found.add('cuda')
    return frozenset(found)


def compute_in(
    devices: frozenset[str], device: torch.device
) -> AbstractContextManager[None]:
    """Autocast to bfloat16 on one of ``devices``, else what is set outside.

    Args:
        devices (frozenset[str]): Of :func:`bfloat16_devices`.
        device (torch.device): Where the images are.
    """
    if device.type not in devices:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
