"""Checks of a config before anything is built from it.

What would otherwise fail minutes later, or with a traceback from deep inside
a dataset, ends here in one ConfigError with the option that mends it.
"""

import inspect
import logging
import os
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from .config_options import find_class, find_key
from .detection_checks import check_detection
from .errors import ConfigError
from .segmentation_checks import check_segmentation

#: Optimizer wrappers that compute in half precision.
MIXED_PRECISION = ('AmpOptimWrapper', 'mmhgkd.AutocastOptimWrapper')


def check_config(cfg: Config, sections: Sequence[str]) -> None:
    """Run all checks.

    Args:
        cfg (Config): The final config.
        sections (Sequence[str]): Top-level keys that the run uses and that
            may hold datasets.
    """
    check_run(cfg)
    check_data_roots(cfg, sections)
    check_load_from(cfg)
    check_model_checkpoints(cfg)
    check_mixed_precision(cfg)
    check_detection(cfg, sections)
    check_segmentation(cfg, sections)


def require(cfg: Config, sections: Sequence[str]) -> None:
    """The config has the top-level keys that the run cannot do without."""
    for section in sections:
        if cfg.get(section) is None:
            raise ConfigError(
                f'the config has no `{section}`, which this run needs'
            )


def check_run(cfg: Config) -> None:
    """Length, seed, log level and work folder of a run make sense."""
    train_cfg = cfg.get('train_cfg') or {}
    for name in ('max_epochs', 'max_iters'):
        length = train_cfg.get(name, 1)
        if not isinstance(length, int) or length < 1:
            raise ConfigError(
                f'`train_cfg.{name}` must be a whole number of at least 1, '
                f'got {length!r}'
            )
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None and not isinstance(seed, int):
        raise ConfigError(
            f'`randomness.seed` must be a whole number or None, got {seed!r}'
        )
    level = cfg.get('log_level', 'INFO')
    if not isinstance(logging.getLevelName(level), int):
        raise ConfigError(
            '`log_level` must be DEBUG, INFO, WARNING, ERROR or '
            f'CRITICAL, got {level!r}'
        )
    work_dir = cfg.get('work_dir')
    if work_dir and os.path.exists(work_dir) and not os.path.isdir(work_dir):
        raise ConfigError(
            f'the work folder `{work_dir}` is a file; set '
            '`--work-dir` to a folder'
        )


def check_data_roots(cfg: Config, sections: Sequence[str]) -> None:
    """Each local ``data_root`` exists, or its dataset downloads it."""
    for section in sections:
        for path, dataset in find_key(cfg.get(section), 'data_root', section):
            root = dataset['data_root']
            if _is_missing(root) and not _downloads(cfg, dataset):
                raise ConfigError(
                    f'the data folder `{root}` of `{path}` does not exist; '
                    f'add `--cfg-options {path}=FOLDER`'
                )


def check_load_from(cfg: Config) -> None:
    """The checkpoint to test, to resume or to start from exists."""
    if _is_missing(cfg.get('load_from')):
        raise ConfigError(
            f'the checkpoint `{cfg.load_from}` does not exist; check the path '
            'on the command line or `load_from` in the config'
        )


def check_model_checkpoints(cfg: Config) -> None:
    """Pre-trained parts of the model, such as the teacher, exist."""
    for path, part in find_key(cfg.get('model'), 'checkpoint', 'model'):
        if _is_missing(part['checkpoint']):
            raise ConfigError(
                f'the checkpoint `{part["checkpoint"]}` of `{path}` does not '
                f'exist; add `--cfg-options {path}=FILE`'
            )


def check_mixed_precision(cfg: Config) -> None:
    """Mixed precision has a device that it is for."""
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') in MIXED_PRECISION and get_device() == 'cpu':
        raise ConfigError(
            'mixed precision training needs a GPU; leave `--amp` out, or add '
            '`--cfg-options optim_wrapper.type=OptimWrapper`'
        )


def _is_missing(path: Any) -> bool:
    """Whether a value is the path of a local file that does not exist."""
    return (
        isinstance(path, (str, os.PathLike))
        and bool(path)
        and '://' not in str(path)
        and not os.path.exists(os.path.expanduser(path))
    )


def _downloads(cfg: Config, dataset: dict[str, Any]) -> bool:
    """Whether a dataset fetches its files into a missing folder itself."""
    if 'download' in dataset:
        return dataset['download']
    cls = find_class(cfg, dataset)
    if cls is None:
        return False
    download = inspect.signature(cls).parameters.get('download')
    return download is not None and download.default is True
