"""A study that is ended takes its jobs with it."""

import os
import signal
from pathlib import Path

import pytest
import slow_jobs
from processes import runs, wait_for
from ranks import CONTEXT, start_server


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_jobs_end_with_their_study(
    tmp_path: Path, number: signal.Signals
) -> None:
    start_server()
    study = CONTEXT.Process(target=slow_jobs.run, args=(str(tmp_path),))
    study.start()
    assert study.pid is not None
    files = [tmp_path / f'job{index}' for index in range(2)]
    try:
        assert wait_for(lambda: all(map(is_written, files)), 240)
        jobs = [int(file.read_text()) for file in files]
        assert all(map(runs, jobs))
    finally:
        os.kill(study.pid, number)
        study.join()
    # Far less than the jobs would take.
    assert wait_for(lambda: not any(map(runs, jobs)), 20)
    assert not (tmp_path / 'job2').exists()
    assert (
        'the one that has started it is gone' in (tmp_path / 'err').read_text()
    )


def is_written(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
