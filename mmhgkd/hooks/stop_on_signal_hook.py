import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from mmengine.dist import barrier, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import distributed

from mmhgkd.registry import HOOKS
from mmhgkd.utils import ConfigError, RunStopped

_STOPS = ('SIGUSR1', 'SIGTERM')


@HOOKS.register_module()
class StopOnSignalHook(Hook):
    """Saves the run and ends it after a signal.

    Slurm sends one before the time limit of a job, and when it takes the
    machine away. The step goes on to its end, and with accumulated gradients
    up to the step of the optimizer. All ranks end after the same step,
    whichever of them has received the signal. A validation is cut off: the
    run was saved before it, and the resumed run repeats it.

    Args:
        signals (Sequence[str], optional): Names of the signals. Defaults to
            None, which means those of SIGUSR1 and SIGTERM that the system
            has.
        interval (int): Iterations between two agreements of the ranks on
            whether to stop. Each makes them wait for each other, but not for
            their GPUs. One process needs none. Defaults to 10.

    Raises:
        ConfigError: If a signal does not exist or the interval is not
            positive.
    """

    priority = 'LOWEST'

    def __init__(
        self, signals: Sequence[str] | None = None, interval: int = 10
    ) -> None:
        if signals is None:
            signals = [name for name in _STOPS if hasattr(signal, name)]
        for name in signals:
            if not hasattr(signal, name):
                raise ConfigError(
                    f'`signals` of StopOnSignalHook has {name}'
                    ', which is no signal of this system'
                )
        if interval < 1:
            raise ConfigError(
                '`interval` of StopOnSignalHook must be '
                f'positive, got {interval}'
            )
        self.signals = [getattr(signal, name) for name in signals]
        self.interval = interval
        self._received: str | None = None
        self._previous: dict[int, Any] = {}
        self._group: Any = None

    def before_train(self, runner: Runner) -> None:
        """Start to listen."""
        if get_world_size() > 1:
            # The flag lies on the host: with NCCL each look at it would make
            # the host wait for the device.
            self._group = distributed.new_group(backend='gloo')
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self._previous[number] = signal.signal(number, self._note)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Save and stop if a signal has come, by a RunStopped."""
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if counts > 1 and not runner.optim_wrapper.should_update():
            return
        stops = self._received is not None
        if self._group is not None:
            # Counted in steps of the optimizer, so that both can meet.
            if (runner.iter // counts) % self.interval:
                return
            flag = torch.tensor(int(stops))
            distributed.all_reduce(
                flag, distributed.ReduceOp.MAX, group=self._group
            )
            stops = bool(flag)
        if not stops:
            return
        runner.call_hook('save_now', done=runner.iter + 1, together=True)
        # A rank that ends earlier could take the writing one with it.
        barrier()
        self._stop(runner, runner.iter + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Stop if a signal has come to this process during validation."""
        if self._received is not None and self._previous:
            self._stop(runner, runner.iter)

    def save_now(self, runner: Runner, done: int, together: bool) -> None:
        """Stop once the run is saved, also where its data has failed."""
        if self._received is not None and self._group is None:
            self._stop(runner, done)

    def after_train(self, runner: Runner) -> None:
        """Listen no more."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number).name

    def _stop(self, runner: Runner, done: int) -> None:
        self.after_train(runner)
        reason = self._received or 'a signal to another process'
        raise RunStopped(
            f'stopped by {reason} after iteration {done}; the run is saved, '
            f'add --resume to go on from {runner.work_dir}'
        )
