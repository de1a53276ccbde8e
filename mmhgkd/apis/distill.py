from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhgkd.runner import (
    command_line,
    fall_back_to_full_precision,
    safe_loading,
)
from mmhgkd.utils import ConfigError, preflight

from .configs import find_config


def distill(
    folder: str | Path,
    work_dir: str | Path,
    config: str | Path = 'hgkd/r18_scenes',
    teacher: str | Path | None = None,
    epochs: int | None = None,
    workers: int | None = None,
    options: dict[str, Any] | None = None,
) -> Path:
    """Distil a student on a folder of images, without labels.

    Nothing is evaluated during the training: that needs labels.

    Args:
        folder (str or Path): Images, at any depth. Where it has a ``train``
            sub-folder only that is used.
        work_dir (str or Path): Receives logs and checkpoints.
        config (str or Path): A config of this project by its name, or a
            config file. Defaults to 'hgkd/r18_scenes': a ResNet-18 on 96 px,
            whose teacher comes with this project and has seen drawn scenes
            only. For photographs train or download a teacher.
        teacher (str or Path, optional): Checkpoint of the teacher. Defaults
            to None, which means that of the config.
        epochs (int, optional): Length of the training; the schedule is
            stretched or shrunk to it. Defaults to None, which means that of
            the config.
        workers (int, optional): Processes that load images. Defaults to
            None, which means as many as in the config.
        options (dict, optional): Further changes of the config by dotted
            key, such as ``{'train_dataloader.batch_size': 32}``. Defaults to
            None.

    Returns:
        Path: The last checkpoint, for :func:`load_student`.

    Raises:
        ConfigError: If folder, config, teacher or options do not exist or
            fit.
    """
    cfg = find_config(config)
    for section in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{section}_{part}'] = None
    cfg.work_dir = str(work_dir)
    loader = cfg.train_dataloader
    loader.dataset.data_root = str(folder)
    if workers is not None:
        loader.num_workers = workers
        loader.persistent_workers = workers > 0
    if teacher is not None:
        cfg.model.teacher.checkpoint = str(teacher)
    cfg.merge_from_dict(options or {})
    if epochs is not None:
        set_epochs(cfg, epochs)
    if not Path(folder).is_dir():
        raise ConfigError(
            f'the folder `{folder}` does not exist; give that of your images'
        )
    checkpoint = cfg.model.teacher.get('checkpoint') or '://'
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise ConfigError(
            f'the teacher `{checkpoint}` does not exist; give '
            'its checkpoint as `teacher`'
        )
    fall_back_to_full_precision(cfg)
    with safe_loading():
        preflight.check_config(cfg, ('train_dataloader',))
        command_line.build_runner(cfg).train()
    return Path((Path(work_dir) / 'last_checkpoint').read_text().strip())


def set_epochs(cfg: Config, epochs: int) -> None:
    """Change the length of a training, and of its schedules in proportion.

    Args:
        cfg (Config): The config; changed in place.
        epochs (int): The new length.

    Raises:
        ConfigError: If it is no length.
    """
    if epochs < 1:
        raise ConfigError(f'`epochs` must be at least 1, got {epochs}')
    ratio = epochs / cfg.train_cfg.max_epochs
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
