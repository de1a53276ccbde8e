"""Which devices multiply in bfloat16 as such."""

import torch

#: Capabilities of x86 processors that do.
_PROCESSORS = ('avx512_bf16', 'amx_bf16')


def multiplies_bfloat16(device: str) -> bool:
    """Whether a type of device has products of bfloat16.

    Others compute them as those of float32, and save no time.

    Args:
        device (str): Such as 'cpu' or 'cuda'.
    """
    if device == 'cuda':
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(
            including_emulation=False
        )
    if device != 'cpu':
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in _PROCESSORS)
