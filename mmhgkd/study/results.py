"""Results of a study as JSON files."""

import json
import platform
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device

from mmhgkd.utils import ConfigError
from mmhgkd.utils.whole_file import WholeFileBackend

PACKAGES = (
    'mmhgkd',
    'torch',
    'torchvision',
    'mmengine',
    'mmcv',
    'mmpretrain',
    'sklearn',
)


def result_path(work_dir: Path, arm: str, seed: int) -> Path:
    """Where the result of an arm with a seed stands."""
    return work_dir / 'results' / f'{arm}_seed{seed}.json'


def read_result(
    path: Path, settings: dict[str, Any] | None = None
) -> dict | None:
    """Read a result, None if it is not there.

    Args:
        path (Path): The file.
        settings (dict, optional): Settings that it must have been made with.
            Defaults to None, which means any.

    Raises:
        ConfigError: If the file cannot be read or the settings differ.
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
    if wanted is not None and found != wanted:
        different = sorted(
            key
            for key in {*found, *wanted}
            if found.get(key) != wanted.get(key)
        )
        raise ConfigError(
            f'{path} was made with another `{different[0]}` '
            f'({found.get(different[0])!r}, now {wanted.get(different[0])!r});'
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
    """Keep a folder of unfinished work for the settings it was begun with.

    Raises:
        ConfigError: If it was begun with others.
    """
    path = folder / 'settings.json'
    if read_result(path, settings) is None:
        write_result(path, settings, {})


def device_name() -> str:
    """Name of the device that MMEngine trains on."""
    if get_device() == 'cuda':
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                name = line.partition(':')[2].strip()
                break
    except OSError:  # not on Linux
        pass
    return f'{name}, threads: {torch.get_num_threads()}'
