"""What can be wrong before a distillation begins."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmhgkd.catalog import Photos, suggest
from mmhgkd.utils import ConfigError

from .judge import Judge
from .plan import Plan


def check_folder(
    out: Any, resume: bool, asked: dict[str, Any]
) -> tuple[Path, Plan | None]:
    """The folder, and the plan to go on with; nothing is overwritten."""
    if not out or not isinstance(out, (str, os.PathLike)):
        raise ConfigError(
            f'`out` must be a folder for what is written, got {out!r}'
        )
    folder = Path(out).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f'{folder} is a file; give a folder as `out`')
    old = Plan.load(folder)
    if old is None:
        return folder, None
    if not resume:
        raise ConfigError(
            f'{folder} holds a distillation already; go on with it by '
            '`resume` (--resume), or choose another folder'
        )
    for name, value in asked.items():
        kept = asdict(old)[name]
        if value is not None and value != kept:
            raise ConfigError(
                f'{folder} holds a distillation with `{name}` {kept}, not '
                f'{value}; leave it out to go on, or choose another folder'
            )
    return folder, old


def check_photos(old: Plan, photos: Photos) -> None:
    """A run goes on with as many photos as it has begun with."""
    if len(photos.training) != old.photos:
        raise ConfigError(
            f'{photos.source} holds {len(photos.training)} photos, and the '
            f'run to go on with has begun with {old.photos}; choose another '
            'folder for a new run'
        )


def make_folder(folder: Path) -> None:
    """Make the folder for everything that is written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f'the folder {folder} of `out` cannot be made ({error.strerror}); '
            'choose another'
        ) from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(
            f'nothing can be written to the folder {folder} of `out`; choose '
            'another, or ask for the right to'
        )


def check_labels(judge: Judge, compare: list[str], photos: Photos) -> None:
    """Labels serve where they lie on both sides of the comparison."""
    if 'supervised' in compare and judge.labels is None:
        raise ConfigError(
            f"`compare` has 'supervised', but the photos in {photos.source} "
            'that are compared have no class in common with the others; put '
            'photos of at least two classes on both sides, or leave it out'
        )


def check_options(options: dict[str, Any] | None) -> None:
    """Options that nothing reads are an error."""
    known = [
        'model',
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'default_hooks',
        'custom_hooks',
        'randomness',
        'env_cfg',
        'log_level',
        'auto_scale_lr',
    ]
    for key in options or {}:
        top = key.split('.')[0]
        if top not in known:
            raise ConfigError(
                f'`options` has {key!r}, but nothing reads `{top}`'
                f'{suggest(top, known)}'
            )
