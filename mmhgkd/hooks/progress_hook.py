import atexit
import logging
import math
import sys
import time
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich import progress
from rich.console import Console

from mmhgkd.registry import HOOKS

#: Columns of a terminal from which the bar shows all that it can.
WIDE = 130


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows a bar of the whole training in a terminal.

    With iterations, images a second over all ranks, the share of the time in
    which this rank waited for data, loss, memory, and the time that has
    passed and is left; in a narrow terminal those that fit. Where the output
    is no terminal it shows nothing, as the log has the figures, or plain
    lines.

    Args:
        interval (int): Iterations between two looks at the loss; each makes
            the host wait for the device. Defaults to 10.
        console (Console, optional): Where to draw. Defaults to None, which
            means the standard output.
        plain (bool): Whether to print a line now and then where the output
            is no terminal. Defaults to False.
    """

    priority = 'LOW'

    def __init__(
        self,
        interval: int = 10,
        console: Console | None = None,
        plain: bool = False,
    ) -> None:
        self.interval = interval
        self.console = console
        self.plain = plain
        self._lines: _PlainLines | None = None
        self._progress: progress.Progress | None = None
        self._images = 0
        self._waited = 0.0
        self._ready = 0.0

    def before_train(self, runner: Runner) -> None:
        """Show the bar."""
        console = self.console or Console()
        if runner.rank != 0:
            return
        if not console.is_terminal:
            if self.plain:
                self._lines = _PlainLines(console, runner)
                self._ready = time.perf_counter()
            return
        self._progress = progress.Progress(
            *_columns(console.width >= WIDE), console=console
        )
        self._progress.add_task(
            'train',
            total=runner.max_iters,
            completed=runner.iter,
            epoch=runner.epoch + 1,
            rate=0.0,
            waiting=0.0,
            loss='-',
            memory=used_memory(),
        )
        self._progress.start()
        self._ready = time.perf_counter()
        # An error must not leave a terminal without a cursor behind.
        atexit.register(self._progress.stop)
        _print_to(runner, sys.stdout)

    def before_train_epoch(self, runner: Runner) -> None:
        """Leave what came between two epochs out of the time of waiting."""
        self._ready = time.perf_counter()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Count the time since the last step as waiting for data."""
        self._waited += time.perf_counter() - self._ready

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Leave the validation out of it."""
        self._ready = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Move the bar on."""
        if self._progress is None and self._lines is None:
            return
        self._images += count_images(data_batch) * runner.world_size
        if self._lines is not None:
            self._lines.update(runner, self._images, self._waited, outputs)
        if self._progress is not None:
            self._move_bar(self._progress, runner, batch_idx, outputs)
        self._ready = time.perf_counter()

    def _move_bar(
        self,
        bar: progress.Progress,
        runner: Runner,
        batch_idx: int,
        outputs: dict | None,
    ) -> None:
        task = bar.tasks[0]
        fields: dict[str, Any] = {}
        is_due = self.every_n_inner_iters(batch_idx, self.interval)
        if is_due and outputs and 'loss' in outputs:
            fields['loss'] = f'{float(outputs["loss"]):.4f}'
        bar.update(
            task.id,
            completed=runner.iter + 1,
            epoch=runner.epoch + 1,
            rate=self._images / max(task.elapsed or 0.0, 1e-3),
            waiting=min(self._waited / max(task.elapsed or 0.0, 1e-3), 1.0),
            memory=used_memory(),
            **fields,
        )

    def after_train(self, runner: Runner) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            _print_to(runner, sys.stdout)
            self._progress = None


def _columns(is_wide: bool) -> list[progress.ProgressColumn]:
    """What the bar shows; rich would cut the ends off where it is too long."""
    columns = [
        progress.TextColumn('epoch {task.fields[epoch]}'),
        progress.BarColumn(40 if is_wide else 8),
        progress.MofNCompleteColumn(),
        progress.TextColumn('{task.fields[rate]:.1f} images/s'),
        progress.TextColumn('data {task.fields[waiting]:.0%}'),
        progress.TextColumn('loss {task.fields[loss]}'),
        progress.TextColumn('{task.fields[memory]:.2f} GiB'),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn('left'),
    ]
    return columns if is_wide else [*columns[:4], columns[5], *columns[8:]]


class _PlainLines:
    """Prints a tenth of a training a line, and at least one a minute."""

    def __init__(self, console: Console, runner: Runner) -> None:
        self._console = console
        self._start = self._last = time.perf_counter()
        self._first = runner.iter

    def update(
        self,
        runner: Runner,
        images: int,
        waited: float,
        outputs: dict | None,
    ) -> None:
        """Print if it is time."""
        done, total = runner.iter + 1, runner.max_iters
        now = time.perf_counter()
        tenths = 10 * done // total > 10 * (done - 1) // total
        if not tenths and now - self._last < 60:
            return
        self._last = now
        passed = max(now - self._start, 1e-3)
        left = passed / (done - self._first) * (total - done)
        loss = float((outputs or {}).get('loss', math.nan))
        self._console.print(
            f'epoch {runner.epoch + 1}/{runner.max_epochs}, step {done}/'
            f'{total}, loss {loss:.4f}, {images / passed:.0f} images/s, '
            f'{min(waited / passed, 1.0):.0%} waiting for data, '
            f'{used_memory():.1f} GiB, {read_time(left)} left',
            highlight=False,
            soft_wrap=True,
        )


def read_time(seconds: float) -> str:
    """A duration for people, such as '3 min'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 5400:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'


def count_images(data_batch: Any) -> int:
    """Number of images in a batch of any of the OpenMMLab packages."""
    inputs = data_batch
    if isinstance(data_batch, dict):
        inputs = data_batch.get('inputs', ())
    if isinstance(inputs, dict):  # several views of each image
        inputs = next(iter(inputs.values()), ())
    return len(inputs)


def used_memory() -> float:
    """Peak memory of this process in GiB, on the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    try:
        import resource
    except ImportError:  # on Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == 'darwin' else 2**20)


def _print_to(runner: Runner, stream: Any) -> None:
    """Let log lines go where the bar can make room for them."""
    for handler in runner.logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(
            handler, logging.FileHandler
        ):
            handler.setStream(stream)
