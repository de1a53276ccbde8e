from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from torch.utils.data import DataLoader, IterableDataset

from mmhgkd.utils import ConfigError, RunError
from mmhgkd.utils.image_sample import MAX_IMAGES, check_stock_images
from mmhgkd.utils.unwrapped import wrapped_datasets

from .seeding import kept_random_states


def check_first_sample(dataloader: DataLoader, name: str) -> None:
    """Send one sample through a pipeline, before there is work to lose.

    A transform may take any option when it is built and fail at the first
    image, which in a validation comes after hours. Images that cannot be read
    are left to those who count them, and the random states stay as they are.

    Args:
        dataloader (DataLoader): The data.
        name (str): Its name in the config.

    Raises:
        ConfigError: It names the pipeline and what has failed, or an image
            that MMCV's loader would take for another one.
    """
    dataset = dataloader.dataset
    for part in wrapped_datasets(dataset):
        _check_images(part, f'{name}.dataset')
    if isinstance(dataset, IterableDataset) or not len(dataset):  # type: ignore[arg-type]
        return
    with kept_random_states():
        try:
            dataset[0]
        except (ConfigError, RunError, OSError):
            return
        except Exception as error:
            text = ' '.join(str(error).split()) or 'without words'
            if 'Cannot find valid image' in text:
                return
            raise ConfigError(
                f'`{name}.dataset.pipeline` fails at the first sample: {text} '
                f'({type(error).__name__})'
            ) from error


def _check_images(dataset: Any, option: str) -> None:
    """Look at images that MMCV's loader reads as 8 bits in any case."""
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    load = next((x for x in steps if type(x) is LoadImageFromFile), None)
    if (
        load is None
        or load.imdecode_backend != 'cv2'
        or load.color_type == 'unchanged'
        or not hasattr(dataset, 'get_data_info')
    ):
        return
    count = min(len(dataset), MAX_IMAGES)
    samples = [
        dataset.get_data_info(index)
        for index in np.linspace(0, len(dataset) - 1, count).astype(int)
    ]
    paths = [sample.get('img_path') for sample in samples]
    check_stock_images(
        [
            path
            for path in paths
            if isinstance(path, str) and '://' not in path
        ],
        option,
    )
