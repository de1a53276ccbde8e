"""Changes of a config that belong together."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from .config_options import find_key
from .errors import ConfigError
from .loader_checks import LOADERS


def set_epochs(cfg: Config, epochs: int) -> None:
    """Change the length of a training, and of its schedules in proportion.

    Args:
        cfg (Config): The config; changed in place.
        epochs (int): The new length.

    Raises:
        ConfigError: If it is no length, or the training has no epochs.
    """
    if epochs < 1:
        raise ConfigError(f'`epochs` must be at least 1, got {epochs}')
    old = (cfg.get('train_cfg') or {}).get('max_epochs')
    if not old:
        raise ConfigError(
            '`epochs` cannot be set: this config counts its length in '
            'iterations; set `train_cfg.max_iters` and its schedules'
        )
    ratio = epochs / old
    cfg.train_cfg.max_epochs = epochs
    schedules = []
    for schedule in cfg.get('param_scheduler') or []:
        if schedule.get('by_epoch', True) and 'end' in schedule:
            schedule.begin = round(schedule.get('begin', 0) * ratio)
            schedule.end = round(schedule.end * ratio)
            if 'T_max' in schedule:
                schedule.T_max = schedule.end - schedule.begin
            if schedule.end == schedule.begin:  # a warm-up of no epoch
                continue
        schedules.append(schedule)
    cfg.param_scheduler = schedules


def set_batch_size(cfg: Config, batch_size: int) -> None:
    """Change the batch size of a training, and its learning rate with it.

    Args:
        cfg (Config): The config; changed in place.
        batch_size (int): Images of a batch of one process.

    Raises:
        ConfigError: If it is no size.
    """
    if batch_size < 1:
        raise ConfigError(f'`batch_size` must be at least 1, got {batch_size}')
    loader = cfg.train_dataloader
    ratio = batch_size / loader.batch_size
    loader.batch_size = batch_size
    if not (cfg.get('auto_scale_lr') or {}).get('enable'):
        cfg.optim_wrapper.optimizer.lr *= ratio


def set_data(cfg: Config, folder: str | Path) -> None:
    """Let all datasets of a config read from one folder.

    Raises:
        ConfigError: If no dataset has a ``data_root``, or it is a file.
    """
    if Path(folder).is_file():
        raise ConfigError(f'`{folder}` is a file; name the folder of images')
    found = [
        part
        for loader in LOADERS
        for _, part in find_key(cfg.get(loader), 'data_root', loader)
    ]
    if not found:
        raise ConfigError('no dataset of this config has a `data_root`')
    for part in found:
        part['data_root'] = str(folder)


def set_teacher(cfg: Config, checkpoint: str | Path) -> None:
    """Take another checkpoint of the teacher of a distillation.

    Raises:
        ConfigError: If the config has no teacher with a checkpoint.
    """
    teacher: Any = (cfg.get('model') or {}).get('teacher')
    if not teacher or 'checkpoint' not in teacher:
        raise ConfigError(
            'this config has no `model.teacher.checkpoint`; a teacher is '
            'something of the configs in hgkd/'
        )
    teacher['checkpoint'] = str(checkpoint)
