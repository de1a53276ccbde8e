"""Gradients that two processes have accumulated when they are stopped."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch


def load(run: Any, iteration: int) -> dict[str, Any]:
    path = run.work_dir / f'iter_{iteration}.pth'
    keys = ('state_dict', 'optimizer', 'gradients')
    content = torch.load(path, weights_only=False)
    return {key: content[key] for key in keys if key in content}


def finish(run: Any) -> None:
    codes = run.finish(run.start())
    assert codes == [0, 0], run.log.read_text()[-3000:]


@pytest.fixture(scope='module')
def config(soak: ModuleType) -> str:
    """Every other iteration is saved in the midst of an accumulation."""
    soak.preload()
    text = soak.CONFIG
    for old, new in (
        ("dict(type='EMAHook', momentum=0.01),", ''),
        ('max_keep_ckpts=2', 'max_keep_ckpts=-1'),
        ('interval=2', 'interval=1'),
        ('max_epochs=3', 'max_epochs=2'),
        (
            "optimizer=dict(type='AdamW', lr=1e-3)",
            "optimizer=dict(type='mmhgkd.TimmLamb', lr=1e-2), "
            'accumulative_counts=2',
        ),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


def test_resumed_run_equals_unbroken_run(
    soak: ModuleType, config: str, tmp_path: Path
) -> None:
    whole, resumed = (
        soak.Run(tmp_path / name, 2, config) for name in ('whole', 'broken')
    )
    finish(whole)
    start = load(whole, 3)
    assert 'gradients' in start and 'gradients' not in load(whole, 4)
    resumed.work_dir.mkdir()
    shutil.copy(whole.work_dir / 'iter_3.pth', resumed.work_dir)
    finish(resumed)
    # The mean over the ranks is saved, so the sum is rounded in another way.
    torch.testing.assert_close(
        load(resumed, 6), load(whole, 6), rtol=1e-3, atol=1e-5
    )
    assert soak.differences(load(whole, 6), start) != []
