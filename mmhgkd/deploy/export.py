import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmhgkd.transfer.converters.weights_file import partial_file
from mmhgkd.utils import ConfigError

from .agreement import (
    calibration_photos,
    check_folder,
    compare_files,
    numbers_of,
)
from .onnx_file import (
    OPSET,
    metadata,
    need_onnx,
    open_session,
    to_half,
    write_graph,
    write_metadata,
)
from .openvino_file import need_openvino, write_openvino
from .quantize import LEAST_OPSET, quantize
from .task_model import TaskModel, read_task_model
from .verify import verify

SUFFIXES = ('.onnx', '.xml')


@dataclass
class OnnxExport:
    """What an export has written.

    Args:
        path (Path): The file.
        network (str): Type of the model.
        metadata (dict[str, str]): What lies in the file, by name.
        differences (dict[str, float]): Largest difference of each output to
            the library's own model.
        agreement (dict[str, float]): With ``--int8``, agreement with the file
            before, and accuracy before and after, in 0 to 1.
        notes (list[str]): What else is to be said.
    """

    path: Path
    network: str
    metadata: dict[str, str]
    differences: dict[str, float]
    agreement: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export_onnx(
    checkpoint: str,
    out: str | Path,
    config: Mapping[str, Any] | None = None,
    with_head: bool = True,
    opset: int = OPSET,
    half: bool = False,
    int8: str | None = None,
) -> OnnxExport:
    """Write the whole model of a checkpoint as a graph, and verify it.

    The file appears under its name once ONNX Runtime computes what the
    library's own model does, on two batches of drawn pictures of different
    number and size.

    Args:
        checkpoint (str): Checkpoint of a distillation, whose student is
            written, or of a downstream task.
        out (str or Path): File to write: ``.onnx``, or ``.xml`` for OpenVINO.
        config (Mapping, optional): Config of the training. Defaults to None,
            which means the one in the checkpoint.
        with_head (bool): False leaves all but the backbone out. Defaults to
            True.
        opset (int): Version of ONNX's operators. Defaults to ``OPSET``.
        half (bool): Whether the layers compute in fp16. Defaults to False.
        int8 (str, optional): Folder of photos; the layers then compute in
            int8, with the ranges on these. Defaults to None.

    Returns:
        OnnxExport: What was written and measured.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ConfigError: If the model has a part that no graph can hold, or the
            file differs from it; nothing is written then.
    """
    out = Path(out)
    _check(out, opset, half, int8)
    found = read_task_model(checkpoint, config, with_head)
    if out.suffix == '.xml':
        with TemporaryDirectory() as folder:
            graph = Path(folder) / 'graph.onnx'
            result = _write(found, graph, opset, half, int8)
            write_openvino(graph, out, result.metadata)
        return replace(result, path=out)
    return _write(found, out, opset, half, int8)


def describe(export: OnnxExport) -> list[str]:
    """Lines that say what was written."""
    entries = export.metadata
    lines = [f'{export.network} ({entries["task"]}) written to {export.path}']
    lines += [
        f'  {name}: {text}'
        for name, text in json.loads(entries['outputs']).items()
    ]
    for name, value in entries.items():
        if name not in ('task', 'outputs'):
            lines.append(f'{name}: {value}')
    lines += [
        f'largest difference of the {name} to the model: {value:.1e}'
        for name, value in export.differences.items()
    ]
    lines += [
        f'{name}: {100 * value:.1f} %'
        for name, value in export.agreement.items()
    ]
    return lines + export.notes


def _check(out: Path, opset: int, half: bool, int8: str | None) -> None:
    if out.suffix not in SUFFIXES:
        raise ConfigError(
            f'{out}: the name of a graph must end in .onnx, or in .xml for '
            'OpenVINO'
        )
    need_onnx()
    if out.suffix == '.xml':
        need_openvino()
    if half and int8 is not None:
        raise ConfigError(
            'a graph computes in fp16 or in int8: leave out `--half` or '
            '`--int8`'
        )
    if int8 is not None:
        check_folder(int8)
        if opset < LEAST_OPSET:
            raise ConfigError(
                f'`--int8` needs `--opset {LEAST_OPSET}` at least, got {opset}'
            )


def _write(
    found: TaskModel, out: Path, opset: int, half: bool, int8: str | None
) -> OnnxExport:
    with partial_file(out) as partial:
        write_graph(found.graph, partial, opset)
        entries = metadata(found, 'fp32')
        write_metadata(partial, entries)
        differences = verify(found, open_session(partial))
        result = OnnxExport(
            out, type(found.model).__name__, entries, differences
        )
        if half:
            to_half(partial)
            entries['precision'] = 'fp16'
            result.differences = verify(
                found, open_session(partial), float('inf')
            )
        if int8 is not None:
            _quantize(found, partial, int8, result)
            entries['precision'] = 'int8'
        write_metadata(partial, entries)
    return result


def _quantize(
    found: TaskModel, partial: Path, folder: str, result: OnnxExport
) -> None:
    photos, names = calibration_photos(folder)
    before = open_session(partial)
    quantize(partial, photos, found.preprocessing)
    labels: Sequence[int] = ()
    if found.graph.task == 'classification':
        labels, note = numbers_of(names, found.classes)
        if note:
            result.notes.append(note)
    result.agreement = compare_files(
        (before, open_session(partial)),
        found.graph.task,
        photos,
        found.preprocessing,
        labels,
    )
    if not result.agreement:
        result.notes.append(
            'neither file finds a box in the photos, so nothing is compared'
        )
    result.notes.append(f'calibrated and compared on {len(photos)} photos')
