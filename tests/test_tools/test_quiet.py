"""Lines that mean nothing do not appear."""

import subprocess
import sys
from pathlib import Path

import mmengine.logging
import pytest
from ranks import run_script

from mmhgkd.report import RunRecord

TRAIN = Path(__file__).resolve().parents[2] / 'tools' / 'train.py'
CONFIG = """
default_scope = 'mmpretrain'
env_cfg = dict(dist_cfg=dict(backend='nccl'))
train_dataloader.update(pin_memory=True)
default_hooks.update(logger=dict(type='LoggerHook', interval=1))
"""
EMPTY = (
    'Could not import OneDL',
    'no accelerator is found',
    'will be deprecated in future',
    'HardDiskBackend',
    'GPU number',
    'nccl',
)


def test_training(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    text = toy.read_text().replace("type='Tool", "type='mmengine.Tool")
    toy.write_text(text + CONFIG)
    process = run_script(TRAIN, str(toy), '--work-dir', 'run')
    output = process.stdout + process.stderr
    assert process.returncode == 0, output
    found = [line for line in output.splitlines() if 'batch_size' not in line]
    for words in EMPTY:
        assert not any(words in line for line in found), words
    assert 'Number of processes: 1' in output
    assert RunRecord('run').environment['Number of processes'] == '1'


def test_module_of_the_quick_start() -> None:
    process = subprocess.run(
        [sys.executable, '-m', 'mmhgkd.apis.quickstart', '--help'],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0
    assert 'found in sys.modules' not in process.stderr
    assert 'OneDL' not in process.stdout


@pytest.mark.parametrize(
    'config',
    [
        'detection/mask-rcnn_scratch-r18_scenes.py',
        'segmentation/upernet_scratch-r18_scenes.py',
    ],
)
def test_data_sets_of_the_neighbors(config: str, tmp_path: Path) -> None:
    process = run_script(
        TRAIN,
        str(TRAIN.parents[1] / 'configs' / config),
        *('--cfg-options', f'data_root={tmp_path / "none"}'),
    )
    assert process.returncode == 2
    assert process.stderr.startswith('error: the data folder')
    assert 'OneDL' not in process.stdout


def test_other_lines_appear(capsys: pytest.CaptureFixture[str]) -> None:
    mmengine.logging.print_log('shown')
    mmengine.logging.print_log('shown too', level=10)
    assert capsys.readouterr().out == 'shown\nshown too\n'
