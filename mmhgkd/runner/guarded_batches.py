import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmhgkd.utils import ConfigError, RunError

from .seeding import stop_signals


def guarded_batches(runner: Runner, dataloader: DataLoader) -> Iterator[Any]:
    """Iterate a dataloader; save the run where the data fails.

    Args:
        runner (Runner): The runner that trains.
        dataloader (DataLoader): Its data.

    Yields:
        Any: The batches.

    Raises:
        RunError: If a worker has died or the data cannot be read.
    """
    batches = None
    while True:
        try:
            if batches is None:
                batches = _start(dataloader)
            batch = next(batches)
        except StopIteration:
            return
        except Exception as error:
            runner.call_hook('save_now', done=runner.iter, together=False)
            raise _explain(error, runner, dataloader.num_workers) from error
        yield batch


def _start(dataloader: DataLoader) -> Iterator[Any]:
    blocks = dataloader.num_workers > 0 and hasattr(signal, 'sigwaitinfo')
    before: set[Any] = set()
    if blocks:
        # A worker that is told to end before it listens would hand the
        # signal to the handler of the training, and live on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        batches = iter(dataloader)
    finally:
        if blocks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if (
        dataloader.num_workers > 0
        and hasattr(signal, 'SIGCHLD')
        and threading.current_thread() is threading.main_thread()
    ):
        # PyTorch would raise in the midst of a step as soon as a worker
        # dies; without its handler it finds out when it waits for data.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return batches


def _explain(error: Exception, runner: Runner, num_workers: int) -> Exception:
    """One clear message for what is not the fault of the code."""
    text = str(error)
    again = f'then add --resume to go on from {runner.work_dir}'
    worker = re.search(r'DataLoader worker .*(exited|killed)', text)
    # A worker that dies while it sends a batch only breaks the connection;
    # its own errors are `Caught`.
    broken = (
        num_workers > 0
        and isinstance(error, (ConnectionError, EOFError))
        and not text.startswith('Caught ')
    )
    if worker or broken:
        who = text.split(', ')[0].rstrip('.') if worker else 'a worker died'
        return RunError(
            f'{who} at iteration {runner.iter}; '
            'often the memory is used up: lower '
            f'`train_dataloader.num_workers` or `batch_size`, {again}'
        )
    if isinstance(error, ConfigError):
        if not runner.iter:
            return error
        # PyTorch wraps the message of a worker in the worker's traceback.
        reason = text.split('ConfigError: ')[-1].strip()
        return RunError(
            f'the data fails at iteration {runner.iter}: {reason}, {again}'
        )
    if isinstance(error, OSError):
        return RunError(
            f'cannot read the data at iteration {runner.iter}: '
            f'{text.splitlines()[-1]}; check the disk, {again}'
        )
    if 'Cannot find valid image' in text:
        return RunError(
            f'no readable image is found any more at iteration {runner.iter}; '
            f'check `train_dataloader.dataset.data_root`, {again}'
        )
    return error
