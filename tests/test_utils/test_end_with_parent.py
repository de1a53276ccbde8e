import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import runs, wait_for

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', sys.argv[1]])
print(child.pid, flush=True)
time.sleep(60)
"""
CHILD = """
import signal, sys, time
from mmhgkd.utils.end_with_parent import end_with_parent
end_with_parent(patience={patience}, interval=0.05)
if {hangs}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('ready', 'w').close()
time.sleep(60)
"""


@pytest.mark.parametrize('hangs', [False, True])
def test_child_ends_when_its_parent_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    code = CHILD.format(patience=0.5, hangs=hangs)
    with open('err', 'wb') as errors:
        parent = subprocess.Popen(
            [sys.executable, '-c', PARENT, code],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert wait_for(lambda: Path('ready').exists())
    time.sleep(0.2)
    assert runs(child)
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not runs(child))
    message = Path('err').read_text()
    assert f'process {child}: the one that has started it is gone' in message
    assert 'killed after 0.5 seconds' in message
