"""Checks of the settings of data loaders, for :mod:`run_checks`."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import FUNCTIONS
from torch.utils.data import DataLoader

from .build_errors import check_type
from .errors import ConfigError, closest
from .value_checks import check_part, find, is_count

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_OPTIONS = (
    *inspect.signature(DataLoader).parameters,
    # those of MMEngine
    'num_batch_per_epoch',
    'disable_subprocess_warning',
)


def check_loader(cfg: Mapping[str, Any], loader: str) -> None:
    """A data loader has a data set, an order, and options that exist.

    Raises:
        ConfigError: It names the setting.
    """
    settings = cfg.get(loader)
    if settings is None:
        return
    for name in settings:
        if name not in _OPTIONS:
            raise ConfigError(
                f'`{loader}.{name}` is no option of a data loader; '
                f'{closest(name, _OPTIONS, "leave it out")}'
            )
    if 'dataset' not in settings:
        raise ConfigError(f'`{loader}` has no `dataset`')
    check_part(f'{loader}.dataset', settings['dataset'])
    if settings.get('batch_sampler') is None:
        # Without one MMEngine reads the data in their order, each rank all.
        check_part(f'{loader}.sampler', settings.get('sampler'))
    for seed in find(settings, 'sampler.seed'):
        if seed is not None and not is_count(seed, 0):
            raise ConfigError(
                f'`{loader}.sampler.seed` must be a whole number of at least '
                f'0, or None, got {seed!r}'
            )
    for pipeline in find(settings, 'dataset.pipeline'):
        if not isinstance(pipeline, (list, tuple)) or not pipeline:
            raise ConfigError(
                f'`{loader}.dataset.pipeline` must be a list of at least one '
                f'transform, got {pipeline!r}'
            )
        for index, step in enumerate(pipeline):
            check_part(f'{loader}.dataset.pipeline.{index}', step)
    for collate in find(settings, 'collate_fn'):
        if not callable(collate):
            check_part(f'{loader}.collate_fn', collate)
            if isinstance(collate['type'], str):
                check_type(FUNCTIONS, collate['type'], None)
    for extensions in find(settings, 'dataset.extensions'):
        if extensions is not None and (
            isinstance(extensions, str)
            or not extensions
            or not all(isinstance(item, str) for item in extensions)
        ):
            raise ConfigError(
                f'`{loader}.dataset.extensions` must be a list such as '
                f"['.jpg', '.png'], got {extensions!r}"
            )
