import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset


def fixed_samples(dataset: Dataset, num: int) -> list[dict[str, Any]]:
    """Take the same samples of a data set at each call, for pictures.

    They are spread evenly, so that a data set that is sorted by class shows
    different ones. Random augmentations are drawn from a seed of their own:
    neither does a picture change from run to run, nor a run by its pictures.

    Args:
        dataset (Dataset): The data set. Of concatenated ones the last is
            used, which is the query split of :class:`ProbeImages`.
        num (int): Number of samples, or all where there are fewer.

    Returns:
        list[dict]: What the pipeline gives for each.
    """
    if isinstance(dataset, ConcatDataset):
        dataset = dataset.datasets[-1]
    total = len(dataset)  # type: ignore[arg-type]
    num = min(num, total)
    with _seeded():
        return [dataset[(2 * i + 1) * total // (2 * num)] for i in range(num)]


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed the global generators, and restore them afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
