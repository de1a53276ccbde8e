"""Configs of the trainings of a study."""

import uuid
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmhgkd.apis.configs import config_folder
from mmhgkd.datasets import ImageFolder
from mmhgkd.runner import fall_back_to_full_precision
from mmhgkd.utils import ConfigError, load_config, preflight
from mmhgkd.utils.config_options import check_option
from mmhgkd.utils.shortcuts import set_epochs

from .study_file import Arm, Study

FEW_LABELS = 0.1
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class TeacherFiles(NamedTuple):
    """What the arms take from their teacher."""

    checkpoint: str | None = None  #: None for one that is still to be trained
    probe: str | None = None  #: linear classifier on it, for soft labels


def count_images(data_root: str) -> dict[str, int]:
    """Images of both splits and classes of the data of a study."""
    if not Path(data_root).expanduser().is_dir():
        raise ConfigError(
            f'the data folder `{data_root}` of the study does '
            'not exist; add `--data-root FOLDER`, with images '
            'in FOLDER/{train,val}/CLASS'
        )
    splits = {
        split: ImageFolder(data_root, split, with_label=True)
        for split in ('train', 'val')
    }
    counts = {split: len(dataset) for split, dataset in splits.items()}
    return dict(counts, classes=len(splits['train'].CLASSES))


def teacher_config(
    study: Study, work_dir: Path, workers: int | None
) -> Config:
    """Config of the teacher's own training."""
    teacher = study.teacher
    assert teacher.config is not None
    cfg = read_config('`teacher`', teacher.config, teacher.options)
    epochs = teacher.epochs or cfg.train_cfg.max_epochs
    return _finish(cfg, study, epochs, study.seeds[0], work_dir, workers)


def pretraining_config(
    study: Study,
    arm: Arm,
    seed: int,
    files: TeacherFiles,
    classes: int,
    work_dir: Path,
    workers: int | None,
) -> Config:
    """Config of the pre-training of an arm."""
    where = f'arm `{arm.name}`'
    epochs = arm.epochs or study.epochs
    if arm.method == 'supervised':
        cfg = read_config(where, arm.config, arm.options)
        _set_classes(where, cfg, classes)
        return _finish(cfg, study, epochs, seed, work_dir, workers)
    cfg = read_config(where, arm.config, study.options, arm.options)
    if study.judge:
        for split in ('val', 'test'):
            for part in ('dataloader', 'cfg', 'evaluator'):
                cfg[f'{split}_{part}'] = None
    elif cfg.get('val_dataloader') is None:
        raise ConfigError(
            f'{where}: the config {arm.config} has no '
            '`val_dataloader` for kNN and linear probe; choose '
            "one that has, such as 'hgkd/r18_scenes'"
        )
    model = cfg.model
    if 'checkpoint' in model.teacher:
        if files.checkpoint:
            model.teacher.checkpoint = files.checkpoint
        else:
            model.teacher.update(checkpoint=None, allow_random=True)
    mask = model.get('mask') or dict(type='mmhgkd.RandomUnitMask')
    model.mask = dict(mask, seed=seed)
    if arm.method == 'soft_labels':
        cfg.model = dict(
            type='mmhgkd.SoftLabelDistiller',
            teacher=model.teacher,
            backbone=model.backbone,
            in_channels=model.neck.in_channels[-1],
            probe=files.probe,
        )
    elif study.gradient_interval and arm.method == 'pretrain':
        cfg.custom_hooks = [
            *(cfg.get('custom_hooks') or []),
            dict(
                type='mmhgkd.LossGradientHook',
                interval=study.gradient_interval,
            ),
        ]
    return _finish(cfg, study, epochs, seed, work_dir, workers)


def finetuning_config(
    study: Study,
    student: str | None,
    seed: int,
    fraction: float,
    classes: int,
    work_dir: Path,
    workers: int | None,
) -> Config:
    """Config of a fine-tuning on a ``fraction`` of the labels.

    ``student`` is the checkpoint of the pre-training; None means random
    weights. The seed chooses the labels, too.
    """
    recipe = study.finetune
    assert recipe is not None
    cfg = read_config('`finetune`', recipe.config, recipe.options)
    _set_classes('`finetune`', cfg, classes)
    cfg.model.backbone.init_cfg = _initialization(student)
    cfg.train_dataloader.dataset.update(label_fraction=fraction, seed=seed)
    fewer = fraction < 1 and recipe.few_label_epochs
    epochs = fewer or recipe.epochs
    return _finish(cfg, study, epochs, seed, work_dir, workers)


def detection_config(
    study: Study,
    student: str | None,
    seed: int,
    work_dir: Path,
    workers: int | None,
) -> Config:
    """Config of the training of a detector, on the data of ``detect``."""
    recipe = study.detect
    assert recipe is not None
    changes = dict(recipe.options)
    if recipe.data_root is not None:
        changes['data_root'] = recipe.data_root
    cfg = read_config('`detect`', recipe.config, changes)
    cfg.model.backbone.init_cfg = _initialization(student)
    return _finish(cfg, study, recipe.epochs, seed, work_dir, workers, False)


def _initialization(student: str | None) -> dict[str, str] | None:
    if student is None:
        return None
    return dict(type='Pretrained', checkpoint=student, prefix='backbone.')


def _set_classes(where: str, cfg: Config, classes: int) -> None:
    if 'head' not in cfg.model or 'num_classes' not in cfg.model.head:
        raise ConfigError(
            f'{where}: its config is no classification; choose one such as '
            "'classification/r18_scratch_folder'"
        )
    cfg.model.head.num_classes = classes
    cfg.data_preprocessor.num_classes = classes


def read_config(where: str, name: str, *options: dict[str, Any]) -> Config:
    """Read a config, a path below ``configs/`` without ending, with changes.

    ``where`` tells in messages what asks for it; the options by dotted key
    are put in one after the other.
    """
    path = config_folder() / f'{name}.py'
    if not path.is_file():
        raise ConfigError(
            f'{where}: there is no config `{name}`; give its '
            'path below configs/ without ending'
        )
    try:
        # Variables of the file have their values while it is run.
        variables = {
            key: value
            for changes in options
            for key, value in changes.items()
            if key == 'data_root'
        }
        cfg = load_config(str(path), variables)
        for changes in options:
            for option in changes:
                check_option(cfg.to_dict(), option)
            cfg.merge_from_dict(changes)
    except ConfigError as error:
        message = str(error).replace('--cfg-options', 'the option')
        raise ConfigError(f'{where}: {message}') from None
    return cfg


def _finish(
    cfg: Config,
    study: Study,
    epochs: int,
    seed: int,
    work_dir: Path,
    workers: int | None,
    own_data: bool = True,
) -> Config:
    """Put in what all trainings of a study have in common.

    With ``own_data`` of False the data are those of the config.
    """
    for name in _LOADERS:
        loader = cfg.get(name)
        if loader is None:
            continue
        if own_data:
            loader.dataset.data_root = study.data_root
        if workers is not None:
            loader.num_workers = workers
        loader.persistent_workers = loader.num_workers > 0
    set_epochs(cfg, epochs)
    # The evaluation follows by itself, also in a run that was cut off there.
    cfg.train_cfg.val_begin = epochs + 1
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    cfg.randomness.seed = seed
    cfg.work_dir = str(work_dir)
    cfg.resume = 'auto'
    # MMEngine takes runs that start in the same second for one.
    cfg.experiment_name = f'{work_dir.name}_{uuid.uuid4().hex}'
    # One of the same name would go on writing to the folder of another run.
    if cfg.get('visualizer'):
        cfg.visualizer.name = cfg.experiment_name
    fall_back_to_full_precision(cfg)
    preflight.check_config(cfg, _LOADERS)
    return cfg
