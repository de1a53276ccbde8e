from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel

from mmhgkd.utils import ConfigError

from .dense import dense_student, outputs
from .flat_layout import FlatLayout
from .layout import Layout
from .libraries import TimmLayout, TorchvisionLayout
from .openmmlab_layout import OpenMMLabLayout
from .preprocessing import weights_metadata
from .student import (
    Student,
    building_from,
    left_out_parts,
    read_config,
    read_student,
)
from .weights_file import partial_file, write_beside

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
_BATCHES = ((2, 64, 64), (3, 96, 128))


class Export(NamedTuple):
    """What an export has written."""

    network: str  #: the library's network
    tensors: int  #: number of tensors in the file
    #: Largest difference to the student, by the name of the output.
    differences: dict[str, float]
    usage: str  #: Python code that loads the file
    preprocessing: dict[str, str]  #: of the pixels, as the file has it


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
    images of different number and size. What becomes of the pixels before
    lies in the file, or beside that of PyTorch's own kind with ``.json``
    behind its name.

    Args:
        checkpoint (str): Checkpoint of a distillation or a fine-tuning.
        out (str or Path): File to write: ``.pth`` or ``.safetensors``.
        layout (str, optional): A key of ``LAYOUTS``. Defaults to None, which
            means 'mmpretrain'.
        config (Mapping, optional): Config of the training. Defaults to None,
            which means the one in the checkpoint.
        with_head (bool): Whether to keep the head of a classifier. With
            False a detector or segmentor gives its backbone. Defaults to
            True.

    Returns:
        Export: What was written and measured.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ConfigError: If there is no student in it, the library has no equal
            network, parts of the model would be lost, or the outputs differ;
            nothing is written then.
    """
    out = Path(out)
    target = _choose(out, layout)
    if with_head:
        _check_whole(checkpoint, read_config(checkpoint, config)[0], target)
    found = read_student(checkpoint, config, with_head)
    student = dense_student(found)
    network = target.describe(student)
    with building_from(found.config), partial_file(out) as partial:
        model = student.build()
        tensors = target.write(student, model, partial)
        differences = _compare(student, model, target, partial)
    preprocessing = weights_metadata(student.config)
    if isinstance(target, FlatLayout) and out.suffix == '.pth':
        write_beside(out, dict(network=network, **preprocessing))
    return Export(
        network,
        tensors,
        differences,
        target.usage(student, out),
        preprocessing,
    )


def _check_whole(
    checkpoint: str, config: Mapping[str, Any], target: Layout
) -> None:
    """Refuse to write a part of a model where the whole was asked for."""
    lost = left_out_parts(config)
    if lost:
        raise ConfigError(
            f'{checkpoint}: a file for {target.name} would lack '
            f'{", ".join(f"`model.{name}`" for name in lost)} of this '
            f'{config["model"].get("type")}; write the whole model with `--to '
            'onnx`, or its backbone alone with `--no-head`'
        )


def _choose(out: Path, layout: str | None) -> Layout:
    if out.suffix not in ('.pth', '.safetensors'):
        raise ConfigError(
            f'{out}: the name of the file must end in .pth or '
            '.safetensors, or in .onnx for a graph'
        )
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(
            f'`layout` must be one of {", ".join(LAYOUTS)}, got {layout!r}'
        )
    target = LAYOUTS[layout or 'mmpretrain']
    if out.suffix not in target.suffixes:
        raise ConfigError(
            f'{out}: {target.name} reads {", ".join(target.suffixes)} only; '
            'choose such a name, or the layout torchvision or timm'
        )
    return target


def _compare(
    student: Student, model: BaseModel, target: Layout, path: Path
) -> dict[str, float]:
    """Largest difference of each output, on two batches."""
    other = target.load(student, path)
    generator = torch.Generator().manual_seed(0)
    largest: dict[str, float] = {}
    for number, *size in _BATCHES:
        shape = (number, student.channels, *size)
        images = torch.randn(shape, generator=generator)
        expected = outputs(model, images)
        for name, found in target.outputs(student, other, images).items():
            difference = (found - expected[name]).abs().max().item()
            largest[name] = max(difference, largest.get(name, 0.0))
            limit = TOLERANCE * max(1.0, expected[name].abs().max().item())
            # Not "greater than": NaN is no equality either.
            if not difference <= limit:
                raise ConfigError(
                    f'{student.source} as {target.describe(student)}: the '
                    f'{name} differs by {difference:.3g} from the '
                    "student's, so the networks are not equal; nothing is "
                    'written'
                )
    return largest
