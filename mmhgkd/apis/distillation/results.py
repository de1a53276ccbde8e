import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel

from mmhgkd.deploy import export_onnx
from mmhgkd.report import RunRecord, html_report
from mmhgkd.transfer.converters import export_student, read_student
from mmhgkd.transfer.converters.weights_file import partial_file, torch_file
from mmhgkd.utils import ConfigError
from mmhgkd.utils.safe_files import read_checkpoint

from .library_files import library_of, write_in_library

FILE = 'results.json'
CHECKPOINT = 'student.pth'
_META = ('cfg', 'epoch', 'iter', 'seed', 'time', 'experiment_name')
#: File and layout of each export.
EXPORTS = {
    'torchvision': ('student_torchvision.pth', 'torchvision'),
    'timm': ('student_timm.safetensors', 'timm'),
    'onnx': ('student.onnx', None),
}


@dataclass
class Distillation:
    """What a distillation has brought.

    It stands for its checkpoint wherever a path is taken, as in
    ``load_student(result)``.

    Args:
        folder (Path): Everything lies in here.
        checkpoint (Path): The student, for :func:`load_student`.
        exports (dict[str, Path]): Files for 'torchvision', 'timm' and 'onnx'.
        metrics (dict): Percent by 'chance', 'untrained', 'distilled',
            'teacher' and what was compared with, and then by 'knn', 'linear'
            and 'neighbors'.
        report (Path, optional): The page that shows it all.
        notes (list[str]): What could not be done, and the mend.
        changed (float, optional): Percent of the nearest neighbors that have
            changed since the start; None of too few photos.
    """

    folder: Path
    checkpoint: Path
    exports: dict[str, Path] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    report: Path | None = None
    notes: list[str] = field(default_factory=list)
    changed: float | None = None

    def __fspath__(self) -> str:
        return str(self.checkpoint)

    def load(self) -> BaseModel:
        """The student, as :func:`mmhgkd.apis.load_student` gives it."""
        return read_student(str(self.checkpoint)).build()

    def save(self) -> None:
        """Write what is known to ``results.json``."""
        content = dict(
            metrics=self.metrics,
            changed=self.changed,
            checkpoint=self.checkpoint.name,
            exports={name: path.name for name, path in self.exports.items()},
            report=self.report.name if self.report else None,
            notes=self.notes,
        )
        text = json.dumps(content, indent=2) + '\n'
        with partial_file(self.folder / FILE) as path:
            path.write_text(text, encoding='utf-8')

    @classmethod
    def read(cls, folder: Path) -> 'Distillation | None':
        """What lies in a folder; None if nothing was finished there."""
        path = folder / FILE
        if not path.is_file() or not (folder / CHECKPOINT).is_file():
            return None
        content: dict[str, Any] = json.loads(path.read_text('utf-8'))
        report = content['report']
        return cls(
            folder,
            folder / content['checkpoint'],
            {k: folder / name for k, name in content['exports'].items()},
            content['metrics'],
            folder / report if report else None,
            content['notes'],
            content.get('changed'),
        )


def keep_weights(source: Path, out: Path) -> None:
    """Write a checkpoint again without what only resuming needs.

    The optimizer's state is more than half of it.
    """
    content = read_checkpoint(source)
    kept = dict(
        meta={k: v for k, v in content['meta'].items() if k in _META},
        state_dict=content['state_dict'],
    )
    with partial_file(out) as path:
        path.write_bytes(torch_file(kept))


def drop_checkpoints(kept: Path) -> None:
    """Delete the checkpoints of a run that is over.

    Args:
        kept (Path): What is left of them, in the folder of the run.
    """
    folder = kept.parent
    for pattern in ('epoch_*.pth', 'iter_*.pth', 'interrupted.pth'):
        for path in folder.glob(pattern):
            path.unlink()
    (folder / 'last_checkpoint').write_text(str(kept.resolve()))


def finish(result: Distillation) -> None:
    """Write results and report, and drop what only resuming needs."""
    result.report = result.folder / 'report.html'
    result.save()
    drop_checkpoints(result.checkpoint)
    page = html_report(RunRecord(result.folder))
    with partial_file(result.report) as path:
        path.write_text(page, encoding='utf-8')


def export_all(checkpoint: Path) -> tuple[dict[str, Path], list[str]]:
    """Write a student for torchvision, timm and ONNX.

    Returns:
        tuple[dict[str, Path], list[str]]: The files, and why others are
        missing.
    """
    student = read_student(str(checkpoint))
    library = library_of(student)
    files, notes = {}, []
    for name, (file, layout) in EXPORTS.items():
        out = checkpoint.with_name(file)
        try:
            if layout is None:
                export_onnx(str(checkpoint), out)
            elif library is None:
                export_student(str(checkpoint), out, layout)
            elif layout == library:
                write_in_library(student, out)
            else:
                raise ConfigError(f'{layout} has no equal network')
            files[name] = out
        except ConfigError as error:
            notes.append(f'no {file}: {error}')
    return files, notes
