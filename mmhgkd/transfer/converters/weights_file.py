import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def write_weights(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a flat state dict, ``.pth`` or ``.safetensors``.

    The metadata go to the header of safetensors; PyTorch's has no place.
    """
    tensors = {key: value.contiguous() for key, value in state.items()}
    if path.suffix == '.safetensors':
        from safetensors.torch import save

        content = save(tensors, metadata=dict(metadata, format='pt'))
    else:
        content = torch_file(tensors)
    path.write_bytes(content)


def torch_file(content: Any) -> bytes:
    """A file of PyTorch, in which its own name does not appear."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def write_beside(path: Path, metadata: Mapping[str, str]) -> Path:
    """Write the metadata of a file of PyTorch, which has no place for them.

    Returns:
        Path: The file, whose name has ``.json`` behind that of the weights.
    """
    out = path.with_name(f'{path.name}.json')
    values = {}
    for key, text in metadata.items():
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    with partial_file(out) as partial:
        partial.write_text(json.dumps(values, indent=2) + '\n')
    return out


@contextmanager
def partial_file(out: Path) -> Iterator[Path]:
    """A file beside another, which takes its place when all went well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f'.{out.stem}.partial{out.suffix}')
    try:
        yield partial
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
