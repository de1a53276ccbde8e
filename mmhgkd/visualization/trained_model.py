import random
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from mmhgkd.algorithms import HGKD
from mmhgkd.datasets.decode_image import BACKGROUND
from mmhgkd.masks import RandomUnitMask
from mmhgkd.registry import MODELS
from mmhgkd.report import RunRecord
from mmhgkd.runner.empty_words import without_weights_told
from mmhgkd.runner.seeding import kept_random_states
from mmhgkd.teachers.checkpoint import read_state_dict
from mmhgkd.utils import ConfigError, preflight
from mmhgkd.utils.known_types import known_types, stored_scope

SIZE_HELP = (
    'side of the image files in pixels, a multiple of 32; defaults to that '
    'of the run'
)


def run_parser(description: str | None, out: str, num: int) -> ArgumentParser:
    """Options of a tool that draws ``num`` images of a run to a file.

    The arguments are those that :func:`open_run` takes.
    """
    parser = ArgumentParser(description=description)
    add = parser.add_argument
    add('work_dir', help='work folder of a distillation')
    files = 'image files; without any, images of the evaluation data'
    add('images', nargs='*', help=files)
    add('--checkpoint', help='weights; defaults to the latest of the run')
    add('--out', help=f'file to write; defaults to WORK_DIR/{out}')
    add('--num-images', type=int, default=num, help=f'defaults to {num}')
    add('--size', type=int, help=SIZE_HELP)
    return parser


def open_run(args: Namespace) -> tuple[HGKD, Tensor]:
    """Load the model and the preprocessed images that the arguments name."""
    record = RunRecord(args.work_dir)
    model = load_trained_model(record, args.checkpoint)
    if args.images:
        size = set_image_size(model, record.config, args.size)
        return model, file_inputs(model, args.images, size)
    if args.size is not None:
        raise ConfigError('`--size` is for image files; name some')
    return model, run_inputs(record, model, args.num_images)


def untrained_model(record: RunRecord, seed: int = 0) -> HGKD:
    """Build the model of a run as it was before a training with this seed.

    It is in evaluation mode, on the CPU. Other random numbers are left as
    they are.

    Raises:
        ConfigError: If the run is no distillation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(record)
        with without_weights_told():
            model.init_weights()
    model.eval()
    return model


def _build(record: RunRecord) -> HGKD:
    config, source = record.config, str(record.folder)
    init_default_scope(stored_scope(config, source))
    kind = (config.get('model') or {}).get('type')
    with known_types(source):
        found = MODELS.get(kind) if isinstance(kind, str) else None
    if found is not HGKD:
        raise ConfigError(
            f'{source} is a run of {kind}; this shows '
            'teacher and student of mmhgkd.HGKD'
        )
    preflight.check_model_checkpoints(config)
    # A teacher without a checkpoint draws its weights at once.
    with known_types(source), without_weights_told():
        return MODELS.build(model_settings(config))


def model_settings(config: Config) -> dict[str, Any]:
    """The model of a config with its preprocessor, for a look at it."""
    return {
        'data_preprocessor': config.get('data_preprocessor'),
        **config.model,
        'compile': False,
    }


def load_trained_model(
    record: RunRecord, checkpoint: str | Path | None = None
) -> HGKD:
    """Build the model of a run with its trained weights.

    It is in evaluation mode, on the CPU. A checkpoint of None means the
    latest of the run.

    Raises:
        ConfigError: If the run is no distillation, or the checkpoint is
            missing or of another config.
    """
    path = Path(checkpoint or record.checkpoint)
    if not path.is_file():
        raise ConfigError(f'there is no checkpoint {path}')
    model = _build(record)
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
    """Mask another share of the units from now on."""
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


def set_image_size(
    model: HGKD, config: Config, side: int | None = None
) -> tuple[int, int]:
    """Let teacher and student see images of another size than in training.

    Args:
        model (HGKD): The model; its teacher resizes in proportion.
        config (Config): That of its run.
        side (int, optional): Height and width in pixels. Defaults to None,
            which means those of the run.

    Returns:
        tuple[int, int]: Height and width.

    Raises:
        ConfigError: If units, or the teacher's patches, do not fit it.
    """
    height, width = image_size(config)
    if side is None:
        return height, width
    if side < 1 or side % model.mask.unit:
        raise ConfigError(
            f'`--size` must be a multiple of the mask unit of '
            f'{model.mask.unit} px, got {side}'
        )
    teacher = model.teacher
    if teacher.input_size is not None:
        rows, columns = teacher.input_size
        teacher.input_size = (
            round(rows * side / height),
            round(columns * side / width),
        )
    teacher.grid(side, side)
    return side, side


def check_colors(model: HGKD) -> None:
    """A model whose images are files for people sees red, green and blue.

    Raises:
        ConfigError: If it takes other than three channels.
    """
    channels = model.image_channels
    if channels != 3:
        raise ConfigError(
            f'this student takes images of {channels} channels, and single '
            'files are shown for three; `tools/visualization/draw_panel.py '
            'WORK_DIR` shows images of its evaluation data, and '
            '`mmhgkd.apis.extract_features` computes features of all'
        )


def prepare_image(
    model: HGKD, image: Image.Image, size: tuple[int, int]
) -> Tensor:
    """Fit an image as in evaluation: its shorter side, then the center.

    ``size`` is height and width. The result is preprocessed for the model,
    ``(1, 3, H, W)``.

    Raises:
        ConfigError: If the model takes other than three channels.
    """
    check_colors(model)
    height, width = size
    # As in training, turned upright and on the default background.
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert('RGBA')
        ground = Image.new('RGBA', image.size, BACKGROUND)
        image = Image.alpha_composite(ground, image)
    scale = max(height / image.height, width / image.width)
    columns = max(width, round(image.width * scale))
    rows = max(height, round(image.height * scale))
    fitted = image.convert('RGB').resize(
        (columns, rows), Image.Resampling.BICUBIC
    )
    left, top = (fitted.width - width) // 2, (fitted.height - height) // 2
    crop = fitted.crop((left, top, left + width, top + height))
    pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1).float()
    preprocessor = model.data_preprocessor
    return ((pixels - preprocessor.mean) / preprocessor.std)[None]


def file_inputs(
    model: HGKD, paths: Sequence[str | Path], size: tuple[int, int]
) -> Tensor:
    """Read image files by :func:`prepare_image`, to ``(B, 3, H, W)``."""
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
    """Take ``num`` fixed images of the evaluation, else of the training."""
    config = record.config
    evaluated = bool(config.get('val_dataloader'))
    section = 'val_dataloader' if evaluated else 'train_dataloader'
    with known_types(str(record.folder)):
        preflight.check_data_roots(config, [section])
        dataset = DATASETS.build(config[section].dataset)
        batch = default_collate(fixed_samples(dataset, num))
    return model.data_preprocessor(batch)['inputs']


def fixed_samples(dataset: Dataset, num: int) -> list[dict[str, Any]]:
    """Take the same samples of a data set at each call, for pictures.

    They are spread evenly, so that a data set that is sorted by class shows
    different ones. Random augmentations are drawn from a seed of their own:
    neither does a picture change from run to run, nor a run by its pictures.

    Args:
        dataset (Dataset): The data set. Of concatenated ones the last is
            used, which is the query split of :class:`ProbeImages`.
        num (int): Number of samples, or all where there are fewer.
    """
    if isinstance(dataset, ConcatDataset):
        dataset = dataset.datasets[-1]
    total = len(dataset)  # type: ignore[arg-type]
    num = min(num, total)
    with kept_random_states():
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        return [dataset[(2 * i + 1) * total // (2 * num)] for i in range(num)]
