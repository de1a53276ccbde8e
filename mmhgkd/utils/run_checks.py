"""Checks of the settings of a run, by kind and range.

MMEngine takes what a config says as it comes: it fails at a wrong kind with
words about its own code, and lives with some values that no one means.
"""

import logging
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ConfigError, one_of
from .loader_checks import LOADERS, check_loader
from .model_checks import check_model
from .training_checks import (
    check_hooks,
    check_log,
    check_optimizer,
    check_schedules,
)
from .value_checks import (
    check_files,
    check_part,
    find,
    is_count,
    is_number,
)

_MAPPINGS = (
    'model',
    'model.data_preprocessor',
    *LOADERS,
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'optim_wrapper',
    'default_hooks',
    'env_cfg',
    'env_cfg.mp_cfg',
    'env_cfg.dist_cfg',
    'randomness',
    'visualizer',
    'data_preprocessor',
    'auto_scale_lr',
    'log_processor',
)
#: Smallest whole number of a setting.
_COUNTS = {
    'train_cfg.max_epochs': 1,
    'train_cfg.max_iters': 1,
    'train_cfg.val_interval': 1,
    'train_cfg.val_begin': 0,
    'optim_wrapper.accumulative_counts': 1,
    'default_hooks.logger.interval': 1,
    'log_processor.num_digits': 0,
    'log_processor.window_size': 1,
    'auto_scale_lr.base_batch_size': 1,
    'env_cfg.mp_cfg.opencv_num_threads': 0,
    'env_cfg.resource_limit': 1,
    'model.backbone.base_channels': 1,
    'model.backbone.frozen_stages': -1,
    'model.backbone.stem_channels': 1,
    **{f'{loader}.batch_size': 1 for loader in LOADERS},
    **{f'{loader}.num_workers': 0 for loader in LOADERS},
}
#: Settings of which -1 means never, or all.
_OPTIONAL_COUNTS = ('default_hooks.checkpoint.max_keep_ckpts',)
_FLAGS = (
    'train_cfg.by_epoch',
    'auto_scale_lr.enable',
    *(
        f'default_hooks.checkpoint.{name}'
        for name in (
            'by_epoch',
            'save_last',
            'save_optimizer',
            'save_param_scheduler',
        )
    ),
    'randomness.deterministic',
    'randomness.diff_rank_seed',
    'find_unused_parameters',
    'env_cfg.cudnn_benchmark',
    'log_processor.by_epoch',
    *(
        f'model.backbone.{name}'
        for name in (
            'avg_down',
            'deep_stem',
            'norm_eval',
            'with_cp',
            'zero_init_residual',
        )
    ),
    *(
        f'{part}data_preprocessor.{name}'
        for part in ('', 'model.')
        for name in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')
    ),
    *(
        f'{loader}.{name}'
        for loader in LOADERS
        for name in (
            'drop_last',
            'pin_memory',
            'persistent_workers',
            'sampler.round_up',
            'sampler.shuffle',
        )
    ),
)
_SEED_KEYS = ('seed', 'diff_rank_seed', 'deterministic')
#: Those of PyTorch, and of the devices that MMEngine knows.
_BACKENDS = ('gloo', 'nccl', 'mpi', 'ucc', 'xccl', 'hccl', 'cncl', 'mccl')
#: Largest seed that NumPy takes.
_MAX_SEED = 2**32 - 1


def check_kinds(cfg: Mapping[str, Any]) -> None:
    """The sections of a config are mappings and lists, as a run reads them.

    Raises:
        ConfigError: It names the section.
    """
    for path in _MAPPINGS:
        for value in find(cfg, path):
            if value is not None and not isinstance(value, Mapping):
                raise ConfigError(
                    f'`{path}` must be a dict of settings, got {value!r}'
                )
    for path in ('model', 'optim_wrapper.optimizer'):
        for value in find(cfg, path):
            check_part(path, value)
    for path in ('visualizer', 'model.neck', 'model.mask', 'tta_model'):
        for value in find(cfg, path):
            if value is not None:
                check_part(path, value)
    for value in find(cfg, 'default_hooks'):
        for name, hook in (value or {}).items():
            if hook is not None:
                check_part(f'default_hooks.{name}', hook)
    for path in ('custom_hooks', 'param_scheduler', 'val_evaluator'):
        value = cfg.get(path)
        if isinstance(value, Mapping) and path != 'custom_hooks':
            value = [value] if 'type' in value else []
        if value is None:
            continue
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(
                f'`{path}` must be a list of parts, dict(type=...), got '
                f'{value!r}'
            )
        for index, part in enumerate(value):
            check_part(f'{path}.{index}', part)
    check_model(cfg)


def check_settings(cfg: Mapping[str, Any]) -> None:
    """Length, seed, data loading, work folder and the like make sense.

    Raises:
        ConfigError: It names the setting.
    """
    for path, least in _COUNTS.items():
        for value in find(cfg, path):
            if not is_count(value, least):
                raise ConfigError(
                    f'`{path}` must be a whole number of at least {least}, '
                    f'got {value!r}'
                )
    for path in _OPTIONAL_COUNTS:
        for value in find(cfg, path):
            if value != -1 and not is_count(value, 1):
                raise ConfigError(
                    f'`{path}` must be a whole number of at least 1, or -1, '
                    f'got {value!r}'
                )
    for path in _FLAGS:
        for value in find(cfg, path):
            if not isinstance(value, bool):
                raise ConfigError(
                    f'`{path}` must be True or False, got {value!r}'
                )
    for loader in LOADERS:
        check_loader(cfg, loader)
    _check_surroundings(cfg)
    check_files(cfg)
    check_optimizer(cfg)
    check_schedules(cfg)
    check_hooks(cfg)
    check_log(cfg)
    _check_evaluation(cfg)


def _check_surroundings(cfg: Mapping[str, Any]) -> None:
    """Seed, processes and log."""
    randomness = cfg.get('randomness') or {}
    for key in randomness:
        one_of('a key of `randomness`', key, _SEED_KEYS)
    seed = randomness.get('seed')
    if seed is not None and not (is_count(seed, 0) and seed <= _MAX_SEED):
        raise ConfigError(
            '`randomness.seed` must be a whole number from 0 to '
            f'{_MAX_SEED}, or None, got {seed!r}'
        )
    launchers = ('none', 'pytorch', 'slurm', 'mpi')
    launcher = cfg.get('launcher', 'none')
    one_of('`launcher`', launcher, launchers)
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise ConfigError(
            '`--launcher pytorch` is for processes that torchrun starts, but '
            'RANK is not set; use `tools/dist_train.sh` or '
            '`tools/dist_test.sh`, or `--launcher none`'
        )
    for method in find(cfg, 'env_cfg.mp_cfg.mp_start_method'):
        known = multiprocessing.get_all_start_methods()
        one_of('`env_cfg.mp_cfg.mp_start_method`', method, known)
    for seconds in find(cfg, 'env_cfg.dist_cfg.timeout'):
        if seconds is not None and not (is_number(seconds) and seconds > 0):
            raise ConfigError(
                '`env_cfg.dist_cfg.timeout` must be a positive number of '
                f'seconds, got {seconds!r}'
            )
    for backend in find(cfg, 'env_cfg.dist_cfg.backend'):
        for part in str(backend).split(','):
            name = part.rpartition(':')[2].lower()
            one_of('`env_cfg.dist_cfg.backend`', name, _BACKENDS)
    level = cfg.get('log_level', 'INFO')
    if not isinstance(logging.getLevelName(level), int):
        raise ConfigError(
            '`log_level` must be DEBUG, INFO, WARNING, ERROR or '
            f'CRITICAL, got {level!r}'
        )
    one_of('`sync_bn`', cfg.get('sync_bn'), (None, False, 'torch', 'mmcv'))
    compiled = cfg.get('compile', False)
    if not isinstance(compiled, (bool, Mapping)):
        raise ConfigError(
            '`compile` must be True, False or a dict of options of '
            f'torch.compile, got {compiled!r}'
        )


def _check_evaluation(cfg: Mapping[str, Any]) -> None:
    """An evaluation has all its parts, or none, and figures have names."""
    for intervals in find(cfg, 'train_cfg.dynamic_intervals'):
        pairs = intervals if isinstance(intervals, (list, tuple)) else [()]
        if intervals is not None and not all(
            isinstance(pair, (list, tuple))
            and len(pair) == 2
            and is_count(pair[0], 0)
            and is_count(pair[1], 1)
            for pair in pairs
        ):
            raise ConfigError(
                '`train_cfg.dynamic_intervals` must be pairs of a start and '
                'an interval of at least 1, such as [(0, 10), (90, 1)], got '
                f'{intervals!r}'
            )
    for name in ('val_evaluator', 'test_evaluator'):
        metrics = cfg.get(name) or []
        for metric in [metrics] if isinstance(metrics, Mapping) else metrics:
            prefix = metric.get('prefix')
            if prefix is not None and not isinstance(prefix, str):
                raise ConfigError(
                    f'the `prefix` of a metric of `{name}` must be a word, '
                    f'got {prefix!r}'
                )
            one_of(
                f'`collect_device` of a metric of `{name}`',
                metric.get('collect_device', 'cpu'),
                ('cpu', 'gpu', 'npu'),
            )
    for kind in ('val', 'test'):
        names = [f'{kind}_{part}' for part in ('dataloader', 'cfg')]
        names.append(f'{kind}_evaluator')
        absent = [name for name in names if cfg.get(name) is None]
        if absent and len(absent) < 3:
            without = ', or add `--no-validate`' if kind == 'val' else ''
            raise ConfigError(
                f'`{absent[0]}` is not set, but '
                f'`{min(set(names) - set(absent))}` is; an evaluation needs '
                f'{", ".join(f"`{name}`" for name in names)}{without}'
            )
