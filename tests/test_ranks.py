"""The helper that starts the processes of other tests."""

import os
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks, run_script


def total(rank: int, start: torch.Tensor) -> dict:
    value = start + rank
    dist.all_reduce(value)
    return dict(rank=rank, value=value, world=dist.get_world_size())


def test_results_come_in_the_order_of_the_ranks() -> None:
    assert run_ranks(total, torch.tensor(5), world_size=3) == [
        dict(rank=rank, value=torch.tensor(18), world=3) for rank in range(3)
    ]


def surroundings(rank: int) -> tuple[str, str, bool]:
    return os.environ['COLOR'], os.getcwd(), dist.is_initialized()


def test_ranks_have_the_surroundings_of_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for color in ('red', 'blue'):
        monkeypatch.setenv('COLOR', color)
        folder = tmp_path / color
        folder.mkdir()
        monkeypatch.chdir(folder)
        expected = (color, str(folder), False)
        assert run_ranks(surroundings, group=False) == [expected] * 2


def fail(rank: int, how: str) -> None:
    if rank == 1 and how == 'raise':
        raise ValueError('no such luck')
    if rank == 1 and how == 'die':
        os._exit(7)
    if how == 'hang' or rank == 0:
        time.sleep(60)


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ('raise', 'rank 0 hangs\nrank 1 .*ValueError: no such luck'),
        ('die', 'rank 0 hangs\nrank 1 died: 7'),
        ('hang', 'rank 0 hangs\nrank 1 hangs'),
    ],
)
def test_every_failure_is_told(how: str, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=f'(?s)^{message}'):
        run_ranks(fail, how, timeout=3 if how == 'hang' else 60)
    assert time.monotonic() - start < 40


SCRIPT = """
import multiprocessing
import os
import sys

import beside


def report(name):
    print(name, os.environ['COLOR'], flush=True)


if __name__ == '__main__':
    process = multiprocessing.get_context('spawn').Process(
        target=report, args=(beside.NAME,))
    process.start()
    process.join()
    assert not process.exitcode
    sys.exit(' '.join(sys.argv[1:]))
"""


def test_script_runs_as_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COLOR', 'red')
    (tmp_path / 'tool.py').write_text(SCRIPT)
    (tmp_path / 'beside.py').write_text("NAME = 'child'")
    done = run_script(tmp_path / 'tool.py', 'no', 'luck')
    assert (done.returncode, done.stderr) == (1, 'no luck\n')
    assert done.stdout == 'child red\n'
