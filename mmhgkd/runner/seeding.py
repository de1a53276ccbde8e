import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def seed_process(*key: int) -> None:
    """Seed Python, NumPy and PyTorch, on all devices, by several numbers.

    Args:
        *key (int): Such as seed, iteration and rank. Keys that differ in one
            number give unrelated streams.
    """
    torch.manual_seed(_seed_cpu(key))


def fetch_seeded(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """Load samples, each with a seed of its own.

    What a sample is then depends neither on the worker that loads it nor on
    the samples before it, so no state of a worker has to be saved.

    Args:
        dataset (Dataset): Any map-style data set.
        indices (SeededIndices): Indices of a batch.

    Returns:
        list: The samples.
    """
    key = getattr(indices, 'key', None)
    if key is None:
        return [dataset[index] for index in indices]
    seed, epoch, first, step = key
    samples = []
    for offset, index in enumerate(indices):
        state = _seed_cpu((seed, epoch, first + offset * step))
        torch.default_generator.manual_seed(state)
        samples.append(dataset[index])
    return samples


class SeededIndices(list):
    """Indices of a batch that tell the data set how to seed their samples.

    Args:
        indices (Sequence[int]): Indices into the data set.
        key (tuple[int, int, int, int]): Seed, epoch, position of the first
            sample in the epoch over all ranks, and the distance to the next.
    """

    def __init__(
        self, indices: Sequence[int], key: tuple[int, int, int, int]
    ) -> None:
        super().__init__(indices)
        self.key = key


def _seed_cpu(key: Sequence[int]) -> int:
    """Seed Python and NumPy, and return the seed for PyTorch."""
    words = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    return int(words[2])
