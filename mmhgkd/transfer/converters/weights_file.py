import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmhgkd.utils.safe_files import read_checkpoint


def write_weights(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a flat state dict.

    Args:
        path (Path): The file, ``.pth`` or ``.safetensors``.
        state (Mapping[str, Tensor]): The tensors.
        metadata (Mapping[str, str]): Facts for the header of safetensors;
            a flat state dict of PyTorch has no place for them.
    """
    tensors = {key: value.contiguous() for key, value in state.items()}
    if path.suffix == '.safetensors':
        from safetensors.torch import save

        content = save(tensors, metadata=dict(metadata, format='pt'))
    else:
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        content = buffer.getvalue()
    path.write_bytes(content)


def read_weights(path: Path) -> dict[str, Any]:
    """Read what :func:`write_weights` has written, as a user would."""
    return read_checkpoint(path)
