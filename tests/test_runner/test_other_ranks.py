"""Runs of two real processes: other ones than before, and a stopped one."""

import os
import shutil
import signal
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

#: Notes the images of each step beside the log.
NOTES = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmhgkd.hooks.invalid_loss_hook import image_files


@HOOKS.register_module(force=True)
class NoteHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        with open(f'seen{runner.rank}.txt', 'a') as file:
            for name in image_files(data_batch):
                print(runner.iter, name, file=file)
"""
HOOK = """
import sys
sys.path.insert(0, '.')
custom_imports = dict(imports=['notes'])
custom_hooks.append(dict(type='NoteHook'))
default_hooks['checkpoint']['max_keep_ckpts'] = -1
"""


def build(soak: ModuleType, folder: Path, processes: int, config: str) -> Any:
    run = soak.Run(folder, processes, config)
    (folder / 'notes.py').write_text(NOTES)
    return run


@pytest.mark.parametrize(('before', 'after'), [(1, 2), (2, 1)])
def test_other_number_of_processes(
    soak: ModuleType, tmp_path: Path, before: int, after: int
) -> None:
    """In the midst of the second epoch, of which all images are seen."""
    soak.preload()
    config = soak.CONFIG + HOOK
    first = build(soak, tmp_path / 'first', before, config)
    assert set(first.finish(first.start())) == {0}
    saved = {1: 8, 2: 4}[before]
    second = build(soak, tmp_path / 'second', after, config)
    second.work_dir.mkdir()
    shutil.copy(first.work_dir / f'iter_{saved}.pth', second.work_dir)
    assert set(second.finish(second.start())) == {0}
    text = second.log.read_text()
    length = 6 // after
    assert f'processes {before} -> {after}' in text
    assert f'epoch 2 starts anew, at iteration {length} of' in text
    seen = [
        line.split()
        for rank in range(after)
        for line in (second.folder / f'seen{rank}.txt').open()
    ]
    assert min(int(step) for step, _ in seen) == length
    epoch = [name for step, name in seen if int(step) < 2 * length]
    assert len(set(epoch)) == len(epoch) == 24


@pytest.mark.parametrize('stopped', [0, 1])
def test_stopped_process_is_not_waited_for_for_ever(
    soak: ModuleType, tmp_path: Path, stopped: int
) -> None:
    soak.preload()
    config = soak.CONFIG + "env_cfg['dist_cfg']['timeout'] = 5\n"
    config += "train_cfg['max_epochs'] = 100000\n"
    run = soak.Run(tmp_path, 2, config)
    ranks = run.start()
    try:
        end = time.monotonic() + 240
        while not any(run.work_dir.glob('*/vis_data/scalars.json')):
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(ranks[stopped].pid, signal.SIGSTOP)
        other = ranks[1 - stopped]
        end = time.monotonic() + 60
        while other.exitcode is None and time.monotonic() < end:
            time.sleep(0.05)
        assert other.exitcode == 3
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()
    lines = run.log.read_text().splitlines()
    (line,) = [line for line in lines if line.startswith('error: ')]
    assert 'has not answered in time' in line
    assert '5000ms' in line
    assert '`env_cfg.dist_cfg.timeout`' in line
