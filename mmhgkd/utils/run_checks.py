"""Checks of the settings that belong to a run, not to a part of it."""

import logging
import os

from mmengine.config import Config

from .config_error import ConfigError


def check_run(cfg: Config) -> None:
    """Length, seed, log level and work folder of a run make sense.

    Args:
        cfg (Config): The final config.

    Raises:
        ConfigError: If one does not.
    """
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
