import os
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from mmengine.dist import barrier, broadcast_object_list, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import distributed

from mmhgkd.registry import HOOKS
from mmhgkd.runner.find_checkpoint import newest_iteration
from mmhgkd.runner.without_gpu import time_out
from mmhgkd.utils import ConfigError, RunError, RunStopped

_STOPS = ('SIGUSR1', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT')
#: Seconds within which a signal that comes again is the same one: a terminal
#: sends it to all processes, and their launcher passes it on to them.
_SAME = 2.0


@HOOKS.register_module()
class StopOnSignalHook(Hook):
    """Saves the run and ends it after a signal.

    Slurm sends one before the time limit of a job, and when it takes the
    machine away; Ctrl-C and a terminal that is closed send one, too. The
    step goes on to its end, and with accumulated gradients up to the step of
    the optimizer. All ranks end after the same step, whichever of them has
    received the signal. A validation is cut off: the run was saved before
    it, and the resumed run repeats it. A second Ctrl-C ends the process at
    once.

    What can be resumed is looked up in the folder: where nothing has been
    saved since the start the run ends as one that cannot go on, so that no
    job is queued again and again.

    Args:
        signals (Sequence[str], optional): Names of the signals. Defaults to
            None, which means SIGUSR1, SIGTERM, SIGINT, SIGHUP and SIGQUIT,
            as far as the system has them and ``nohup`` or a shell does not
            keep them from this process.
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
            signals = [
                name
                for name in _STOPS
                if hasattr(signal, name)
                and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN
            ]
        if isinstance(signals, str):
            raise ConfigError(
                '`signals` of StopOnSignalHook must be a list such as '
                f"['SIGTERM'], got {signals!r}"
            )
        for name in signals:
            if not isinstance(name, str) or not hasattr(signal, name):
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
        self._time = 0.0
        self._begin = 0
        self._previous: dict[int, Any] = {}
        self._group: Any = None

    def before_train(self, runner: Runner) -> None:
        """Start to listen."""
        self._begin = runner.iter
        if get_world_size() > 1:
            # The flag lies on the host: with NCCL each look at it would make
            # the host wait for the device.
            self._group = distributed.new_group(
                backend='gloo', timeout=time_out(runner.cfg)
            )
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
        self._stop(runner, runner.iter + 1, together=True)

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
        again = self._received is not None
        if not again:
            self._received = signal.Signals(number).name
            self._time = time.monotonic()
        if number != signal.SIGINT:
            return
        if again and time.monotonic() - self._time > _SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not again:
            if self._group is None:
                # Also in the midst of a long operation, which no handler of
                # Python interrupts.
                signal.signal(number, signal.SIG_DFL)
            # Printing could interrupt a print.
            os.write(2, b'\nsaving the run; Ctrl-C again ends it at once\n')

    def _stop(self, runner: Runner, done: int, together: bool = False) -> None:
        """End the run, and say what there is to resume.

        Raises:
            RunStopped: If it can be resumed.
            RunError: If nothing has been saved since it was started.
        """
        self.after_train(runner)
        reason = self._received or 'a signal to another process'
        text = f'stopped by {reason} after iteration {done}'
        saved = self._saved_iteration(runner, done, together)
        if saved == done:
            raise RunStopped(
                f'{text}; the run is saved, '
                f'add --resume to go on from {runner.work_dir}'
            )
        if saved is not None and saved > self._begin:
            raise RunStopped(
                f'{text}; the last checkpoint is of iteration {saved}, '
                f'add --resume to go on from {runner.work_dir}'
            )
        raise RunError(
            f'{text}, but nothing is saved in {runner.work_dir} since '
            f'iteration {self._begin}; set `default_hooks.checkpoint` to a '
            'CheckpointHook'
        )

    def _saved_iteration(
        self, runner: Runner, done: int, together: bool
    ) -> int | None:
        """Iteration of the newest checkpoint, as the first rank finds it."""
        saved: list[int | None] = [done]
        if runner.rank == 0:
            out_dir = getattr(runner, 'checkpoint_dir', None)
            saved = [newest_iteration(runner.work_dir, out_dir)]
        if together:
            broadcast_object_list(saved)
        return saved[0]
