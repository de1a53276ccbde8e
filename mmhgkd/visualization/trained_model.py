from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mmhgkd.algorithms import HGKD
from mmhgkd.masks import RandomUnitMask
from mmhgkd.registry import MODELS
from mmhgkd.report import RunRecord
from mmhgkd.teachers.checkpoint import read_state_dict
from mmhgkd.utils import ConfigError, preflight

from .fixed_samples import fixed_samples


def load_trained_model(
    record: RunRecord, checkpoint: str | Path | None = None
) -> HGKD:
    """Build the model of a run with its trained weights.

    Args:
        record (RunRecord): The run.
        checkpoint (str or Path, optional): The weights. Defaults to None,
            which means the latest of the run.

    Returns:
        HGKD: In evaluation mode, on the CPU.

    Raises:
        ConfigError: If the run is no distillation, or the checkpoint is
            missing or of another config.
    """
    config = record.config
    init_default_scope(config.get('default_scope') or 'mmpretrain')
    kind = config.model.type
    if MODELS.get(kind) is not HGKD:
        raise ConfigError(
            f'{record.folder} is a run of {kind}; this shows '
            'teacher and student of mmhgkd.HGKD'
        )
    path = Path(checkpoint or record.checkpoint)
    if not path.is_file():
        raise ConfigError(f'there is no checkpoint {path}')
    preflight.check_model_checkpoints(config)
    settings = {
        'data_preprocessor': config.get('data_preprocessor'),
        **config.model,
        'compile': False,
    }
    model = MODELS.build(settings)
    try:
        model.load_state_dict(read_state_dict(str(path)))
    except RuntimeError as error:
        problems = str(error).splitlines()[1:]
        raise ConfigError(
            f'the checkpoint {path} does not fit the config of '
            f'{record.folder} ({problems[0].strip()[:100]} ...); pass a '
            'checkpoint of that run'
        ) from error
    except ValueError as error:
        raise ConfigError(
            f'{path} cannot be read as a checkpoint; pass one '
            'of tools/train.py'
        ) from error
    model.eval()
    return model


def set_mask_ratio(model: HGKD, mask_ratio: float) -> None:
    """Mask another share of the units from now on.

    Raises:
        ConfigError: If the ratio is out of range.
    """
    model.mask = RandomUnitMask(model.mask.unit, mask_ratio, model.mask.seed)


def image_size(config: Config) -> tuple[int, int]:
    """Height and width in pixels of the images that a run works on.

    Raises:
        ConfigError: If the pipelines of the config do not tell.
    """
    for section, key in (
        ('val_dataloader', 'crop_size'),
        ('train_dataloader', 'crop_size'),
        ('train_dataloader', 'scale'),
    ):
        for _, transform in preflight.find_key(
            config.get(section), key, section
        ):
            size = transform[key]
            if isinstance(size, int):
                return size, size
            # A scale is (width, height), a crop (height, width).
            height, width = reversed(size) if key == 'scale' else size
            return height, width
    raise ConfigError(
        'the config has no transform with `crop_size` or '
        '`scale`, so the size of its images is unknown'
    )


def prepare_image(
    model: HGKD, image: Image.Image, size: tuple[int, int]
) -> Tensor:
    """Fit an image as in evaluation: its shorter side, then the center.

    Args:
        model (HGKD): The model, with the statistics of its preprocessor.
        image (PIL.Image.Image): The image.
        size (tuple[int, int]): Height and width.

    Returns:
        Tensor: Preprocessed, ``(1, 3, H, W)``.
    """
    image = image.convert('RGB')
    height, width = size
    scale = max(height / image.height, width / image.width)
    fitted = image.resize(
        (
            max(width, round(image.width * scale)),
            max(height, round(image.height * scale)),
        ),
        Image.Resampling.BICUBIC,
    )
    left, top = (fitted.width - width) // 2, (fitted.height - height) // 2
    crop = fitted.crop((left, top, left + width, top + height))
    pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1).float()
    preprocessor = model.data_preprocessor
    return ((pixels - preprocessor.mean) / preprocessor.std)[None]


def file_inputs(
    model: HGKD, paths: Sequence[str | Path], size: tuple[int, int]
) -> Tensor:
    """Read image files as inputs of a model.

    Args:
        model (HGKD): The model.
        paths (Sequence[str or Path]): The files.
        size (tuple[int, int]): Height and width.

    Returns:
        Tensor: ``(B, 3, H, W)``.

    Raises:
        ConfigError: If a file is no readable image.
    """
    inputs = []
    for path in paths:
        try:
            with Image.open(path) as image:
                inputs.append(prepare_image(model, image, size))
        except (OSError, UnidentifiedImageError) as error:
            raise ConfigError(
                f'cannot read the image {path}: {error}'
            ) from error
    return torch.cat(inputs)


def run_inputs(record: RunRecord, model: HGKD, num: int) -> Tensor:
    """Take fixed images of a run: of its evaluation, else of its training.

    Args:
        record (RunRecord): The run.
        model (HGKD): Its model.
        num (int): Number of images.

    Returns:
        Tensor: ``(B, 3, H, W)``.

    Raises:
        ConfigError: If the data set is not there any more.
    """
    section = (
        'val_dataloader'
        if record.config.get('val_dataloader')
        else 'train_dataloader'
    )
    preflight.check_data_roots(record.config, [section])
    dataset = DATASETS.build(record.config[section].dataset)
    batch = default_collate(fixed_samples(dataset, num))
    return model.data_preprocessor(batch)['inputs']
