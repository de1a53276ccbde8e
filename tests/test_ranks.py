"""The helper that starts the processes of other tests."""

import os
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks


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
