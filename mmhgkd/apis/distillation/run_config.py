from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhgkd.catalog import Photos
from mmhgkd.utils import ConfigError
from mmhgkd.utils.preflight import BFLOAT16
from mmhgkd.utils.shortcuts import set_epochs

from ..configs import find_config, load_config
from .plan import Plan
from .student import backbone_of, stages
from .teacher import Teacher

RECIPE = 'hgkd/r18_scenes'
TEACHER_RECIPE = 'mae/vit-micro_folder'
PHOTO_LIST = 'photos.txt'
_SIZES = ('scale', 'crop_size')
#: Pictures of a few photos over the training, and the most frames of it.
FRAME_PHOTOS, MAX_FRAMES = 3, 8


def distillation_config(
    plan: Plan,
    photos: Photos,
    teacher: Teacher,
    out: Path,
    recipe: str | Path | None = None,
    options: dict[str, Any] | None = None,
) -> Config:
    """Config of the distillation of a plan, in the recommended form.

    Args:
        plan (Plan): What to train.
        photos (Photos): The photos.
        teacher (Teacher): The teacher.
        out (Path): The work folder.
        recipe (str or Path, optional): The config to begin with, by name or
            file; its loss reads stages of the student. Defaults to None,
            which means ``RECIPE``.
        options (dict, optional): Changes by dotted key. Defaults to None.

    Raises:
        ConfigError: If teacher, student and recipe do not fit together.
    """
    cfg = find_config(recipe or RECIPE)
    model = cfg.model
    direct = (model.get('head') or {}).get('direct_loss')
    if direct is None or model.head.get('similarity_loss'):
        raise ConfigError(
            f'the recipe {recipe} is not of the form that `distill` adapts to '
            'student and teacher: it needs `head.direct_loss` alone; run '
            f'`mmhgkd train {recipe}` instead'
        )
    own = model.teacher
    model.teacher = {
        **teacher.for_images(plan.image_size),
        'target_norm': own.get('target_norm', 'layer_norm'),
        'precision': own.get('precision', 'training'),
    }
    model.backbone = backbone_of(plan.student)
    model.views = plan.views
    _set_up_run(cfg, plan, photos, out)
    cfg.optim_wrapper.optimizer.lr = plan.learning_rate
    set_length(cfg, plan)
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(
            type='mmhgkd.PanelHook',
            # The untrained student is one of the frames.
            interval=ceil(plan.epochs / (MAX_FRAMES - 1)),
            num_images=min(FRAME_PHOTOS, plan.photos),
            untrained=True,
        ),
    ]
    cfg.merge_from_dict(options or {})
    _fit_loss(cfg.model.head.direct_loss, stages(cfg.model.backbone))
    cfg.model.head.direct_loss.out_channels = teacher.width
    return cfg


def teacher_training_config(
    plan: Plan, photos: Photos, epochs: int, out: Path
) -> Config:
    """Config of the pre-training of a small teacher on the photos."""
    cfg = load_config(TEACHER_RECIPE)
    _set_up_run(cfg, plan, photos, out)
    set_epochs(cfg, epochs)
    # Only the last one is of use.
    cfg.default_hooks.checkpoint.interval = max(1, epochs // 5)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    return cfg


def set_length(cfg: Config, plan: Plan) -> None:
    """Epochs, warm-up and decay of the learning rate of a plan."""
    cosine = dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=plan.warmup,
        end=plan.steps,
    )
    linear = dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=False,
        begin=0,
        end=plan.warmup,
    )
    # A few steps have no warm-up, and MMEngine takes no schedule of length 0.
    cfg.param_scheduler = [linear, cosine] if plan.warmup else [cosine]
    cfg.train_cfg.max_epochs = plan.epochs
    cfg.default_hooks.checkpoint.interval = max(1, plan.epochs // 10)


def set_photos(
    cfg: Config,
    plan: Plan,
    files: Sequence[str],
    labels: Mapping[str, int] | None = None,
) -> None:
    """Let a run be trained on files, which are listed in its work folder.

    Args:
        cfg (Config): Of the run; changed in place.
        plan (Plan): Batches and processes.
        files (Sequence[str]): The photos.
        labels (Mapping[str, int], optional): Class of each file. Defaults to
            None, without classes.
    """
    out = Path(cfg.work_dir)
    out.mkdir(parents=True, exist_ok=True)
    listed = out / PHOTO_LIST
    text = ''.join(
        f'{file}\n' if labels is None else f'{file} {labels[file]}\n'
        for file in files
    )
    listed.write_text(text, encoding='utf-8', errors='surrogateescape')
    loader = cfg.train_dataloader
    loader.dataset = dict(
        type='CustomDataset',
        data_root='',
        ann_file=str(listed.resolve()),
        with_label=labels is not None,
        pipeline=loader.dataset.pipeline,
    )
    loader.batch_size = plan.batch_size
    loader.drop_last = True
    loader.num_workers = plan.workers
    loader.persistent_workers = plan.workers > 0
    cfg.default_hooks.logger.interval = min(100, plan.epoch_length)


def _set_up_run(cfg: Config, plan: Plan, photos: Photos, out: Path) -> None:
    """Photos, sizes, precision, folder, seed and log; no evaluation."""
    for section in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{section}_{part}'] = None
    cfg.work_dir = str(out)
    cfg.randomness = dict(cfg.randomness, seed=plan.seed)
    for name in ('train_pipeline', 'eval_pipeline'):
        if name in cfg:
            _resize(cfg[name], plan.image_size)
    _resize(cfg.train_dataloader.dataset.pipeline, plan.image_size)
    wrapper = cfg.optim_wrapper
    if plan.bfloat16 and 'type' not in wrapper:
        wrapper.type = f'mmhgkd.{BFLOAT16}'
    set_photos(cfg, plan, photos.training)


def _fit_loss(loss: dict[str, Any], found: list[tuple[int, int]]) -> None:
    """Let ``L_direct`` read as many stages as before, of another student.

    Raises:
        ConfigError: If it names none that the student has.
    """
    wanted = loss.get('stages')
    if wanted is None:
        channels = loss.get('in_channels', (1024, 2048))
        wanted = range(-1 if isinstance(channels, int) else -len(channels), 0)
    # A network of one map has no stage before the last.
    kept = [stage for stage in wanted if -len(found) <= stage < 0]
    if not kept:
        raise ConfigError(
            f'direct_loss `stages` names {list(wanted)}, and the student has '
            f'{len(found)}, counted from the last, -1; set it to [-1]'
        )
    loss['stages'] = kept
    loss['in_channels'] = [found[stage][0] for stage in kept]
    loss['strides'] = [found[stage][1] for stage in kept]


def _resize(pipeline: list[dict[str, Any]], size: int) -> None:
    """Let the steps of a pipeline make images of another size."""
    for step in pipeline:
        for key in _SIZES:
            if isinstance(step.get(key), int):
                step[key] = size
