import os
import random
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from threading import Thread
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader, IterableDataset


def seed_process(*key: int) -> None:
    """Seed Python, NumPy and PyTorch, on all devices, by several numbers.

    Args:
        *key (int): Such as seed, iteration and rank. Keys that differ in one
            number give unrelated streams.
    """
    torch.manual_seed(_seed_cpu(key))


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave Python, NumPy and PyTorch, on the CPU, as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


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


class SeededBatchSampler:
    """Gives each sample of a batch sampler its seed, and can start anywhere.

    Args:
        batch_sampler (Iterable): Any batch sampler.
        seed (int): Seed of the run, the same on all ranks.
    """

    def __init__(
        self, batch_sampler: Iterable[Sequence[int]], seed: int
    ) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.epoch = -1
        self._position = 0
        self._batches: Iterator[Sequence[int]] | None = None

    def begin(self, epoch: int, skip: int = 0) -> int:
        """Set where the next iteration starts; no sample is loaded for it.

        Args:
            epoch (int): Number of the pass over the data.
            skip (int): Batches to leave out. Defaults to 0.

        Returns:
            int: The batches left out, fewer if the pass has no more.
        """
        self.epoch = epoch
        self._position = 0
        self._batches = iter(self.batch_sampler)
        skipped = 0
        for batch in islice(self._batches, skip):
            self._position += len(batch)
            skipped += 1
        return skipped

    def __iter__(self) -> Iterator[SeededIndices]:
        if self._batches is None:
            # A loop that knows nothing of this sampler: no pass must see the
            # crops of the one before.
            self.begin(self.epoch + 1)
        batches, self._batches = self._batches, None
        position = self._position
        rank, world_size = get_dist_info()
        assert batches is not None
        for batch in batches:
            first = position * world_size + rank
            yield SeededIndices(
                batch, (self.seed, self.epoch, first, world_size)
            )
            position += len(batch)

    def __len__(self) -> int:
        return len(self.batch_sampler)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name == 'batch_sampler':  # not yet set, while being unpickled
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)


def seed_samples(dataloader: DataLoader, seed: int) -> bool:
    """Make the samples of a dataloader depend on their place in it alone.

    Args:
        dataloader (DataLoader): Changed in place.
        seed (int): Seed of the run, the same on all ranks.

    Returns:
        bool: Whether that can be done: not for streams, and not where the
        data set composes the batches.
    """
    dataset = dataloader.dataset
    if dataloader.batch_sampler is None or isinstance(
        dataset, IterableDataset
    ):
        return False
    # PyTorch guards the attribute, as swapping the data under a batch sampler
    # is mostly a mistake.
    vars(dataloader)['batch_sampler'] = SeededBatchSampler(
        dataloader.batch_sampler, seed
    )
    # PyTorch asks a data set for a whole batch if it has this attribute, so
    # that the data set stays the object that hooks know and change.
    dataset.__getitems__ = partial(  # type: ignore[attr-defined]
        fetch_seeded, dataset
    )
    dataloader.worker_init_fn = partial(
        _start_worker, dataloader.worker_init_fn
    )
    return True


def stop_signals() -> set[signal.Signals]:
    """The signals that stop a run, as far as the system has them."""
    names = ('SIGTERM', 'SIGUSR1', 'SIGINT', 'SIGHUP', 'SIGQUIT')
    return {getattr(signal, n) for n in names if hasattr(signal, n)}


def _start_worker(init_fn: Callable[[int], None] | None, worker: int) -> None:
    """Leave signals that stop the run to the process that trains.

    They often reach the whole process group, and without its workers the
    training could not go on until all ranks have agreed to stop.
    """
    if hasattr(signal, 'sigwaitinfo'):
        stops = stop_signals()
        signal.pthread_sigmask(signal.SIG_BLOCK, stops)
        Thread(target=_heed_parent, args=(stops,), daemon=True).start()
    if init_fn is not None:
        init_fn(worker)


def _heed_parent(stops: set[signal.Signals]) -> None:
    """End this worker where its own parent asks for it."""
    while True:
        info = signal.sigwaitinfo(stops)
        if info.si_pid == os.getppid():
            os._exit(0)
