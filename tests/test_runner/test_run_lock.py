import subprocess
import sys
from pathlib import Path

import pytest

from mmhgkd.runner.run_lock import claimed
from mmhgkd.utils import RunError

HOLDER = """
import os, sys, time
from mmhgkd.runner.run_lock import claimed
with claimed(sys.argv[1]):
    child = os.fork()
    print('held', child, flush=True)
    time.sleep(60)
"""


def test_one_run_a_folder(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().startswith('held')
        with (
            pytest.raises(RunError, match=f'process {holder.pid} on') as error,
            claimed(tmp_path),
        ):
            pass
        assert error.value.exit_code == 3
    finally:
        holder.kill()
        holder.wait()
    # The child lives on, as workers do for a while.
    with claimed(tmp_path):
        pass


def test_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refuse(*args: object) -> None:
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr('fcntl.lockf', refuse)
    with claimed(tmp_path):
        pass
