"""Results of a study as JSON files."""

import json
import math
import platform
import re
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device

from mmhgkd.report import RunRecord
from mmhgkd.utils import ConfigError
from mmhgkd.utils.whole_file import WholeFileBackend

from .study_file import Arm, Study

PACKAGES = (
    'mmhgkd',
    'torch',
    'torchvision',
    'mmengine',
    'mmcv',
    'mmpretrain',
    'sklearn',
)
TEACHER = 'teacher.json'
GRADIENTS = ('gradient_feat', 'gradient_sim', 'gradient_cosine')
PARTS = ('loss_feat', 'pearson', 'self_variance_share', 'embedding_cosine')


def result_path(work_dir: Path, arm: str, seed: int) -> Path:
    """Where the result of an arm with a seed stands."""
    return work_dir / 'results' / f'{arm}_seed{seed}.json'


def arm_settings(
    study: Study, arm: Arm, seed: int, data: dict[str, int]
) -> dict[str, Any]:
    """All that the result of an arm depends on."""
    parts = dict(
        finetune=study.finetune, judge=study.judge, detect=study.detect
    )
    return dict(
        config=arm.config,
        method=arm.method,
        options={**study.options, **arm.options},
        seed=seed,
        epochs=arm.epochs or study.epochs,
        teacher=asdict(study.teacher),
        gradient_interval=study.gradient_interval,
        data=data,
        **{key: asdict(part) for key, part in parts.items() if part},
        **(dict(peer=arm.peer) if arm.peer else {}),
    )


def read_result(
    path: Path, settings: dict[str, Any] | None = None
) -> dict | None:
    """Read a result, None if it is not there.

    Raises:
        ConfigError: If the file cannot be read, or was made with others than
            the given settings.
    """
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding='utf-8'))
        found = result['settings']
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{path} is no result of a study ({error}); move it away'
        ) from error
    wanted = json.loads(json.dumps(settings))
    for key in sorted({*found, *wanted} if wanted is not None else ()):
        old, new = found.get(key), wanted.get(key)
        if old != new:
            raise ConfigError(
                f'{path} was made with another `{key}` ({old!r}, now {new!r});'
                ' choose another --work-dir, or move it away'
            )
    return result


def write_result(
    path: Path, settings: dict[str, Any], metrics: dict[str, float]
) -> None:
    """Write a result, with the device and the versions it was made with."""
    versions = {name: import_module(name).__version__ for name in PACKAGES}
    result = dict(
        settings=settings,
        metrics=metrics,
        device=device_name(),
        versions=dict(versions, python=platform.python_version()),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    WholeFileBackend().put(json.dumps(result, indent=2).encode(), str(path))


def claim_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Keep a folder of unfinished work for the settings it was begun with."""
    path = folder / 'settings.json'
    if read_result(path, settings) is None:
        write_result(path, settings, {})


def device_name() -> str:
    """Name of the device that MMEngine trains on."""
    if get_device() == 'cuda':
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    with suppress(OSError):  # not on Linux
        text = Path('/proc/cpuinfo').read_text()
        if found := re.search(r'^model name\s*: (.+)', text, re.M):
            name = found[1].strip()
    return f'{name}, threads: {torch.get_num_threads()}'


def training_metrics(work_dir: Path) -> dict[str, float]:
    """Speed of a training, and the parts of the losses where they were logged.

    Gradients are means over the training, the others over its last quarter.
    """
    record = RunRecord(work_dir)
    found = {}
    if record.images_per_second is not None:
        found['images_per_second'] = record.images_per_second
    for key in (*GRADIENTS, *PARTS):
        values = record.series(key)[1]
        if key in PARTS:
            values = values[-math.ceil(len(values) / 4) :]
        if values:
            found[key] = math.fsum(values) / len(values)
    return found
