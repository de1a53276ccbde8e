"""Checks of single settings of a run, for :mod:`run_checks`."""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from .errors import ConfigError, one_of


def find(cfg: Mapping[str, Any], path: str) -> Iterator[Any]:
    """The value at a dotted path, where there is one."""
    value: Any = cfg
    for key in path.split('.'):
        if not isinstance(value, Mapping) or key not in value:
            return
        value = value[key]
    yield value


def is_count(value: Any, least: int) -> bool:
    """Whether a value is a whole number, and at least so large."""
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value >= least
    )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def check_part(path: str, value: Any) -> None:
    """A part that a registry builds names its type; or it is built.

    Raises:
        ConfigError: It names the part.
    """
    if path.endswith('.neck') and isinstance(value, list) and value:
        # MMPretrain, MMDetection and MMSegmentation chain several.
        for index, part in enumerate(value):
            check_part(f'{path}.{index}', part)
        return
    is_text = isinstance(value, (str, bytes, int, float, list, tuple))
    if value is None or is_text:
        raise ConfigError(
            f'`{path}` must be a part, dict(type=...), got {value!r}'
        )
    if isinstance(value, Mapping) and not value.get('type'):
        raise ConfigError(f'`{path}` has no `type`; set `{path}.type`')


def check_weight(option: str, value: Any) -> None:
    """The weight of a loss is no negative number.

    Raises:
        ConfigError: It names the option.
    """
    if not is_number(value) or value < 0:
        raise ConfigError(
            f'{option} must be a number of at least 0, got {value!r}'
        )


def check_files(cfg: Mapping[str, Any]) -> None:
    """Work folder, and the checkpoint to start from."""
    work_dir = cfg.get('work_dir')
    if work_dir is not None and not (work_dir and isinstance(work_dir, str)):
        raise ConfigError(
            f'`work_dir` must be the name of a folder, got {work_dir!r}; set '
            '`--work-dir`'
        )
    if work_dir and os.path.exists(work_dir) and not os.path.isdir(work_dir):
        raise ConfigError(
            f'the work folder `{work_dir}` is a file; set '
            '`--work-dir` to a folder'
        )
    load_from = cfg.get('load_from')
    if load_from == '' or not isinstance(
        load_from, (str, os.PathLike, type(None))
    ):
        raise ConfigError(
            f'`load_from` must be a file or None, got {load_from!r}'
        )
    if load_from and os.path.isdir(os.path.expanduser(load_from)):
        raise ConfigError(
            f'`{load_from}` of `load_from` is a folder; name the checkpoint '
            'in it, or use `--work-dir FOLDER --resume` to go on with a run'
        )
    for folder in find(cfg, 'default_hooks.checkpoint.out_dir'):
        if folder is not None and not (folder and isinstance(folder, str)):
            raise ConfigError(
                '`default_hooks.checkpoint.out_dir` must be the name of a '
                f'folder, got {folder!r}'
            )
        if folder and os.path.isfile(folder):
            raise ConfigError(
                f'`{folder}` of `default_hooks.checkpoint.out_dir` is a file; '
                'set it to a folder'
            )
    one_of('`resume`', cfg.get('resume') or False, (True, False, 'auto'))
