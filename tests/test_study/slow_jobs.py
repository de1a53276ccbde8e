"""A study of jobs that would take a minute, for tests of its end."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from studies import run_study

from mmhgkd.utils import RunStopped


class SlowJob:
    """Notes its process, and ends at SIGTERM as a training does."""

    options = SimpleNamespace(jobs=1)

    def __init__(self, number: int, hears: bool) -> None:
        self.number = number
        self.hears = hears

    @property
    def study(self) -> Any:
        if self.hears:
            signal.signal(signal.SIGTERM, _stop)
        Path(f'job{self.number}').write_text(str(os.getpid()))
        time.sleep(60)
        return None


def _stop(*_: Any) -> None:
    raise RunStopped('the run is saved')


def run(folder: str) -> None:
    """Run three jobs, two at once."""
    os.chdir(folder)
    with open('err', 'wb') as errors:
        os.dup2(errors.fileno(), 2)
    # Its imports are those of this process.
    context = multiprocessing.get_context('fork')
    multiprocessing.get_context = lambda method=None: context  # type: ignore
    run_study._run_parallel(
        [SlowJob(n, n != 1) for n in range(3)],  # type: ignore[misc]
        2,
    )
