import random

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset

from mmhgkd.visualization import fixed_samples


class Augmented(Dataset):
    """Samples with random numbers of all three generators."""

    def __init__(self, start: int, length: int) -> None:
        self.start = start
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, float]:
        return dict(
            index=self.start + index,
            python=random.random(),
            numpy=np.random.rand(),
            torch=torch.rand(()).item(),
        )


def test_samples_are_spread_over_the_last_part() -> None:
    dataset = ConcatDataset([Augmented(0, 50), Augmented(100, 40)])
    samples = fixed_samples(dataset, 4)
    assert [sample['index'] for sample in samples] == [105, 115, 125, 135]
    few = fixed_samples(Augmented(0, 3), 8)
    assert [sample['index'] for sample in few] == [0, 1, 2]


def test_augmentation_is_the_same_and_changes_no_run() -> None:

    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(()).item()

    def seed() -> None:
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)

    seed()
    undisturbed = draw(), draw()
    seed()
    before = draw()
    first = fixed_samples(Augmented(0, 10), 2)
    assert (before, draw()) == undisturbed
    assert fixed_samples(Augmented(0, 10), 2) == first
    assert first[0]['numpy'] != first[1]['numpy']
