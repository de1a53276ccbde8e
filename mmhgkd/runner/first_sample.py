import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from mmhgkd.utils import ConfigError, RunError


def check_first_sample(dataloader: DataLoader, name: str) -> None:
    """Send one sample through a pipeline, before there is work to lose.

    A transform may take any option when it is built and fail at the first
    image, which in a validation comes after hours. Images that cannot be read
    are left to those who count them, and the random states stay as they are.

    Args:
        dataloader (DataLoader): The data.
        name (str): Its name in the config.

    Raises:
        ConfigError: It names the pipeline and what has failed.
    """
    dataset = dataloader.dataset
    if isinstance(dataset, IterableDataset) or not len(dataset):  # type: ignore[arg-type]
        return
    with _random_states():
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


@contextmanager
def _random_states() -> Iterator[None]:
    """Leave the random numbers of the process as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    generator = torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.default_generator.set_state(generator)
