"""The same student, trained as long on something else, to compare with."""

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from mmengine.config import Config

from mmhgkd.catalog import Photos
from mmhgkd.utils import ConfigError

from ..configs import load_config
from .plan import Plan
from .results import CHECKPOINT
from .run_config import set_length, set_photos
from .student import stages

#: Configs with the model of each, in the width of the quick start.
RECIPES = {
    'pixels': 'spark/r18_pixels_quickstart',
    'supervised': 'classification/r18_scratch_quickstart',
}
#: Pixels are learned best at so many times the rate of a distillation.
PIXEL_RATE = 10
#: Widest decoder, and of what its width is a multiple.
WIDTH, FACTOR = 512, 16


@dataclass(frozen=True)
class Twin:
    """A training beside the distillation.

    Args:
        name (str): A key of ``RECIPES``.
        plan (Plan): Its length and batches.
        config (Config): Its config.
    """

    name: str
    plan: Plan
    config: Config

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.config.work_dir)

    @property
    def checkpoint(self) -> Path:
        """Its weights, once it is done."""
        return self.folder / CHECKPOINT


def make_twin(
    name: str,
    config: Config,
    plan: Plan,
    photos: Photos,
    hidden: Collection[str],
    out: Path,
) -> Twin:
    """Set up the twin of a distillation.

    It has the student, the way of the photos, the schedule, the steps and the
    images a step of the distillation.

    Args:
        name (str): A key of ``RECIPES``.
        config (Config): Of the distillation.
        plan (Plan): Of the distillation.
        photos (Photos): The photos.
        hidden (Collection[str]): Files that are classified in the
            comparison, whose labels are not learned.
        out (Path): Folder of the distillation.

    Raises:
        ConfigError: If the student does not go with it.
    """
    with_label = name == 'supervised'
    labels = dict(zip(photos.files, photos.labels, strict=False))
    files = photos.training
    if with_label:
        files = [file for file in files if file not in hidden]
    batch = min(plan.batch_size * plan.views, len(files))
    epochs = max(1, round(plan.steps / (len(files) // batch)))
    own = replace(
        plan, photos=len(files), batch_size=batch, epochs=epochs, views=1
    )
    own = replace(own, warmup=min(plan.warmup, own.steps // 4))
    cfg = copy.deepcopy(config)
    recipe = load_config(RECIPES[name])
    cfg.work_dir = str(out / name)
    # Those of another recipe may look into a distillation.
    cfg.custom_hooks = recipe.custom_hooks
    channels, strides = zip(*stages(config.model.backbone), strict=True)
    cfg.model = recipe.model
    cfg.model.backbone = copy.deepcopy(config.model.backbone)
    if with_label:
        cfg.model.head.in_channels = channels[-1]
        cfg.model.head.num_classes = len(photos.classes)
        norm = config.data_preprocessor
        cfg.data_preprocessor = dict(
            num_classes=len(photos.classes),
            mean=norm.mean,
            std=norm.std,
            to_rgb=True,
        )
    else:
        if any(2 * a != b for a, b in pairwise(strides)):
            raise ConfigError(
                f'`compare` has {name!r}, but the stages of {plan.student} '
                f'have the strides {strides}, and the decoder of pixels needs '
                'each to be twice the one before; leave it out'
            )
        width = min(max(channels[-1] // 2 // FACTOR, 2) * FACTOR, WIDTH)
        cfg.model.neck.update(
            in_channels=channels, finest_stride=strides[0], width=width
        )
        cfg.optim_wrapper.optimizer.lr *= PIXEL_RATE
    set_photos(cfg, own, files, labels if with_label else None)
    set_length(cfg, own)
    return Twin(name, own, cfg)
