from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmhgkd.utils import ConfigError

from .layout import Layout
from .onnx_file import onnx_outputs, require_onnx, write_onnx
from .openmmlab_layout import OpenMMLabLayout
from .student import outputs, read_student
from .timm_layout import TimmLayout
from .torchvision_layout import TorchvisionLayout

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        OpenMMLabLayout('mmpretrain'),
        OpenMMLabLayout('mmdet'),
        OpenMMLabLayout('mmseg'),
        TorchvisionLayout(),
        TimmLayout(),
    )
}
"""Layout of each library."""

#: Largest accepted difference, relative to the largest output above 1.
TOLERANCE = 1e-4
_BATCHES = ((2, 3, 64, 64), (3, 3, 96, 128))


class Export(NamedTuple):
    """What an export has written.

    Args:
        network (str): The library's network, or 'ONNX'.
        tensors (int): Number of tensors in the file.
        differences (dict[str, float]): Largest difference to the student, by
            the name of the output.
        usage (str): Python code that loads the file.
    """

    network: str
    tensors: int
    differences: dict[str, float]
    usage: str


def export_student(
    checkpoint: str,
    out: str | Path,
    layout: str | None = None,
    config: Mapping[str, Any] | None = None,
    with_head: bool = True,
) -> Export:
    """Write the student of a checkpoint for another library, and verify it.

    The file appears under its name once the library's own network has read
    it back and computes what the student computes, on two batches of random
    images of different number and size.

    Args:
        checkpoint (str): Checkpoint of a distillation or a fine-tuning.
        out (str or Path): File to write: ``.pth``, ``.safetensors`` or
            ``.onnx``.
        layout (str, optional): A key of ``LAYOUTS``. Defaults to None, which
            means 'mmpretrain', and is the only choice for ONNX.
        config (Mapping, optional): Config of the training. Defaults to None,
            which means the one in the checkpoint.
        with_head (bool): Whether to keep the head of a classifier.
            Defaults to True.

    Returns:
        Export: What was written and measured.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ConfigError: If there is no student in it, the library has no equal
            network, or the outputs differ; nothing is written then.
    """
    out = Path(out)
    target = _choose(out, layout)
    student = read_student(checkpoint, config, with_head)
    if target is not None:
        network = target.describe(student)
    else:
        network = 'ONNX'
        require_onnx()
    model = student.build()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f'.{out.stem}.partial{out.suffix}')
    try:
        run: Callable[[Tensor], dict[str, Tensor]]
        if target is None:
            tensors = write_onnx(model, partial)

            def run(images: Tensor) -> dict[str, Tensor]:
                return onnx_outputs(partial, images)
        else:
            tensors = target.write(student, partial)
            other = target.load(student, partial)

            def run(images: Tensor) -> dict[str, Tensor]:
                return target.outputs(student, other, images)

        differences = _compare(model, run, f'{checkpoint} as {network}')
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    if target is None:
        usage = f"session = onnxruntime.InferenceSession('{out}')"
    else:
        usage = target.usage(student, out)
    return Export(network, tensors, differences, usage)


def _choose(out: Path, layout: str | None) -> Layout | None:
    """Layout of a file; None for ONNX."""
    if out.suffix not in ('.pth', '.safetensors', '.onnx'):
        raise ConfigError(
            f'{out}: the name of the file must end in .pth, '
            '.safetensors or .onnx'
        )
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(
            f'`layout` must be one of {", ".join(LAYOUTS)}, got {layout!r}'
        )
    if out.suffix == '.onnx':
        if layout is not None:
            raise ConfigError(
                f'{out}: an ONNX file has no layout of weights; '
                'leave the layout out'
            )
        return None
    target = LAYOUTS[layout or 'mmpretrain']
    if out.suffix not in target.suffixes:
        raise ConfigError(
            f'{out}: {target.name} reads {", ".join(target.suffixes)} only; '
            'choose such a name, or the layout torchvision or timm'
        )
    return target


def _compare(
    model: nn.Module, run: Callable[[Tensor], dict[str, Tensor]], what: str
) -> dict[str, float]:
    """Largest difference of each output, on two batches."""
    generator = torch.Generator().manual_seed(0)
    largest: dict[str, float] = {}
    for shape in _BATCHES:
        images = torch.randn(shape, generator=generator)
        expected = outputs(model, images)
        for name, found in run(images).items():
            difference = (found - expected[name]).abs().max().item()
            largest[name] = max(difference, largest.get(name, 0.0))
            limit = TOLERANCE * max(1.0, expected[name].abs().max().item())
            # Not "greater than": NaN is no equality either.
            if not difference <= limit:
                raise ConfigError(
                    f'{what}: the {name} differs by {difference:.3g} from '
                    "the student's, so the networks are not equal; nothing "
                    'is written'
                )
    return largest
