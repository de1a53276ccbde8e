import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmhgkd.runner.first_sample import check_first_sample
from mmhgkd.utils import ConfigError


class Data(Dataset):
    """Draws random numbers, then raises what it is told to."""

    def __init__(self, error: Exception | None, length: int = 2) -> None:
        self.error = error
        self.length = length
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        self.asked.append(index)
        random.random()
        np.random.rand()
        torch.rand(1)
        if self.error is not None:
            raise self.error
        return index


def draw() -> tuple[float, float, float]:
    return random.random(), np.random.rand(), float(torch.rand(1))


@pytest.mark.parametrize('error', [None, ValueError('of a transform')])
def test_random_states_stay(error: Exception | None) -> None:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = draw()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    data = Data(error)
    if error is None:
        check_first_sample(DataLoader(data), 'val_dataloader')
    else:
        refusal = r'`val_dataloader\.dataset\.pipeline` fails .* of a transf'
        with pytest.raises(ConfigError, match=refusal):
            check_first_sample(DataLoader(data), 'val_dataloader')
    assert data.asked == [0]
    assert draw() == expected


@pytest.mark.parametrize(
    'error',
    [
        OSError('of the disk'),
        ConfigError('an image that cannot be taken'),
        Exception('Cannot find valid image after 1000!'),
    ],
)
def test_unreadable_images_are_left_to_others(error: Exception) -> None:
    data = Data(error)
    check_first_sample(DataLoader(data), 'val_dataloader')
    assert data.asked == [0]


def test_nothing_to_look_at() -> None:
    data = Data(ValueError(), length=0)
    check_first_sample(DataLoader(data), 'val_dataloader')
    assert not data.asked
