"""Data that is lost in the midst of a run of ``tools/train.py``."""

import os
import signal
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope='module')
def config(soak: ModuleType) -> str:
    """Long enough to be hit between two checkpoints of many."""
    soak.preload()
    assert 'max_epochs=3' in soak.CONFIG
    return soak.CONFIG.replace('max_epochs=3', 'max_epochs=10')


@pytest.fixture(scope='module')
def unbroken(
    soak: ModuleType, config: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    run = soak.Run(tmp_path_factory.mktemp('unbroken'), config=config)
    assert run.finish(run.start()) == [0], run.log.read_text()[-3000:]
    return run.state()


def lose_folder(run: Any, process: Any) -> None:
    (run.folder / 'images').rename(run.folder / 'elsewhere')


def kill_worker(run: Any, process: Any) -> None:
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children')
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)


@pytest.mark.parametrize(
    ('lose', 'message'),
    [
        (lose_folder, 'the folder images of the image images/'),
        (kill_worker, 'often the memory is used up: lower'),
    ],
    ids=['folder', 'worker'],
)
def test_saves_says_so_and_can_be_resumed(
    unbroken: dict[str, Any],
    soak: ModuleType,
    config: str,
    tmp_path: Path,
    lose: Any,
    message: str,
) -> None:
    run = soak.Run(tmp_path, config=config)
    [process] = run.start()
    while not (run.work_dir / 'iter_2.pth').exists():
        assert process.exitcode is None, run.log.read_text()[-3000:]
        time.sleep(0.01)
    lose(run, process)
    assert run.finish([process]) == [3]
    log = run.log.read_text()
    assert 'Traceback' not in log
    lines = [line for line in log.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    assert message in lines[0]
    assert 'then add --resume to go on from' in lines[0]
    if not (tmp_path / 'images').exists():
        (tmp_path / 'elsewhere').rename(tmp_path / 'images')
    assert run.finish(run.start()) == [0]
    assert 'resumed epoch' in run.log.read_text()
    assert soak.differences(unbroken, run.state()) == []
