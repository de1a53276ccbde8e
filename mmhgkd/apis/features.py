from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dataset import Compose, default_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from mmhgkd.catalog.find_images import IMAGE_EXTENSIONS
from mmhgkd.datasets import ImageFolder
from mmhgkd.evaluation.embedding import global_embedding
from mmhgkd.transfer.converters.student import building_from
from mmhgkd.utils import ConfigError


class Features(NamedTuple):
    """What a student sees in images.

    Args:
        embeddings (Tensor): ``(N, D)`` float32, on the CPU.
        files (tuple[str]): Path of each image; empty for a tensor of images.
    """

    embeddings: Tensor
    files: tuple[str, ...]


def extract_features(
    student: BaseModel,
    images: str | PathLike | Sequence[str | PathLike] | Tensor,
    batch_size: int = 64,
    workers: int = 0,
) -> Features:
    """Compute one embedding per image.

    It is the mean of the last feature map, which the evaluation by kNN and
    linear probe takes too.

    Args:
        student (BaseModel): Of :func:`build_student` or
            :func:`load_student`. It computes on the device where it lies.
        images (str or PathLike or Sequence or Tensor): A folder with images
            at any depth, a file, several files, or RGB images in 0..255,
            ``(N, 3, H, W)``; of as many channels as the student's. Files are
            resized and cropped as in the evaluation of the config, a tensor
            is taken as it is.
        batch_size (int): Images computed at a time. Defaults to 64.
        workers (int): Processes that load files. Defaults to 0, which means
            this one.

    Returns:
        Features: Embeddings and files, in sorted order for a folder.

    Raises:
        ConfigError: If there is no image, or one cannot be read.
    """
    batches: Any
    loading, *steps = student._config.test_dataloader.dataset.pipeline
    has_bands = loading.get('bands') is not None
    if isinstance(images, Tensor):
        channels = loading.bands if has_bands else 3
        if images.ndim != 4 or images.size(1) != channels:
            raise ConfigError(
                f'`images` must be of shape (N, {channels}, H, W), got '
                f'{tuple(images.shape)}'
            )
        files: tuple[str, ...] = ()
        # Preprocessors expect the order of OpenCV for colors.
        batches = [
            dict(inputs=part if has_bands else part.flip(1))
            for part in images.split(batch_size)
        ]
    else:
        files = _find_files(images, has_bands)
        if not has_bands:
            loading = dict(type='mmhgkd.LoadImage')
        steps = [loading, *steps]
        with (
            building_from(student._config),
            DefaultScope.overwrite_default_scope('mmpretrain'),
        ):
            pipeline = Compose([TRANSFORMS.build(step) for step in steps])
        batches = DataLoader(
            list(files),  # type: ignore[arg-type]
            batch_size,
            num_workers=workers,
            collate_fn=partial(_read, pipeline),
        )
    training = student.training
    student.train(False)
    embeddings = []
    with torch.no_grad():
        for batch in track(
            batches, 'Features', total=len(batches), disable=len(batches) == 1
        ):
            inputs = student.data_preprocessor(batch)['inputs']
            embeddings.append(
                global_embedding(student.extract_feat(inputs)).cpu()
            )
    student.train(training)
    return Features(torch.cat(embeddings), files)


def _read(pipeline: Compose, files: Sequence[str]) -> dict[str, Any]:
    return default_collate([pipeline(dict(img_path=file)) for file in files])


def _find_files(
    images: str | PathLike | Sequence[str | PathLike], with_arrays: bool
) -> tuple[str, ...]:
    if isinstance(images, (str, PathLike)):
        if not Path(images).is_dir():
            return (str(images),)
        kinds = (*IMAGE_EXTENSIONS, '.npy') if with_arrays else None
        folder = ImageFolder(str(images), extensions=kinds)
        return tuple(
            folder.get_data_info(index)['img_path']
            for index in range(len(folder))
        )
    if not images:
        raise ConfigError('`images` is empty; give a folder or files')
    return tuple(str(image) for image in images)
