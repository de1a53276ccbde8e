import signal
import time
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from torch.utils.data import DataLoader, Dataset

from mmhgkd.runner.guarded_batches import _start, guarded_batches
from mmhgkd.runner.seeding import seed_samples
from mmhgkd.utils import ConfigError, RunError


class Loader:
    """Yields three batches, or fails on the way."""

    def __init__(
        self, error: Exception, at: int, num_workers: int = 0
    ) -> None:
        self.error = error
        self.at = at
        self.num_workers = num_workers

    def __iter__(self) -> Any:
        # PyTorch resets persistent workers, and misses dead ones, here.
        if self.at == 0:
            self.fail()
        return (self.batch(index) for index in (1, 2, 3))

    def batch(self, index: int) -> int:
        return self.fail() if index == self.at else index

    def fail(self) -> NoReturn:
        raise self.error


def consume(
    error: Exception, at: int, iteration: int = 6, num_workers: int = 0
) -> list[Any]:
    """What is saved until the error comes."""
    calls: list[Any] = []
    runner: Any = SimpleNamespace(
        iter=iteration,
        work_dir='run',
        call_hook=lambda name, **kwargs: calls.append((name, kwargs)),
    )
    loader: Any = Loader(error, at, num_workers)
    batches = []
    with pytest.raises(Exception) as raised:
        for batch in guarded_batches(runner, loader):
            batches.append(batch)
            runner.iter += 1
    assert batches == [1, 2, 3][: max(at - 1, 0)]
    assert calls == [('save_now', dict(done=runner.iter, together=False))]
    return [type(raised.value), str(raised.value)]


@pytest.mark.parametrize('at', [0, 1, 3])
def test_dead_worker(at: int) -> None:
    kind, message = consume(
        RuntimeError('DataLoader worker (pid(s) 7) exited unexpectedly'), at
    )
    assert kind is RunError
    assert f'at iteration {6 + max(at - 1, 0)}; often the memory' in message


@pytest.mark.parametrize('error', [ConnectionResetError(104, 'x'), EOFError()])
def test_worker_that_dies_while_it_sends(error: Exception) -> None:
    kind, message = consume(error, 2, num_workers=2)
    assert kind is RunError
    assert message.startswith('a worker died at iteration 7; often the memory')


@pytest.mark.parametrize(
    ('text', 'num_workers'),
    [('Caught ConnectionError in DataLoader worker', 2), ('reset', 0)],
)
def test_data_that_loses_its_connection(text: str, num_workers: int) -> None:
    kind, message = consume(ConnectionError(text), 2, num_workers=num_workers)
    assert kind is RunError
    assert message.startswith('cannot read the data at iteration 7: ')


def test_data_that_was_there_before_can_be_restored() -> None:
    text = (
        'Caught ConfigError in DataLoader worker process 0.\nOriginal '
        'Traceback\n ...\nmmhgkd.utils.ConfigError: the folder a is gone'
    )
    kind, message = consume(ConfigError(text), 2)
    assert kind is RunError
    assert message == (
        'the data fails at iteration 7: the folder a is gone, '
        'then add --resume to go on from run'
    )


def test_data_that_never_was_there() -> None:
    assert consume(ConfigError('no folder'), 1, 0) == [
        ConfigError,
        'no folder',
    ]


def test_other_errors_stay_what_they_are() -> None:
    assert consume(KeyError('img'), 2) == [KeyError, "'img'"]


class Slow(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return index


def test_workers_end_that_have_hardly_begun() -> None:
    """The handler of the training, which they inherit, took the signal."""
    loader = DataLoader(
        Slow(), 2, num_workers=2, multiprocessing_context='fork'
    )
    assert seed_samples(loader, 0)
    previous = signal.signal(signal.SIGTERM, lambda number, frame: None)
    start_worker: Any = loader.worker_init_fn

    def start(worker: int) -> None:
        time.sleep(0.5)
        start_worker(worker)

    loader.worker_init_fn = start
    try:
        batches: Any = _start(loader)
        for worker in batches._workers:
            worker.terminate()
        for worker in batches._workers:
            worker.join(10)
            assert worker.exitcode is not None
        # The training itself listens as before.
        assert signal.SIGTERM not in signal.pthread_sigmask(
            signal.SIG_BLOCK, ()
        )
    finally:
        signal.signal(signal.SIGTERM, previous)
