"""MMPretrain's own tools on the configs and runs of this project."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import get_model
from PIL import Image

TOOLS = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
CONFIGS = Path(__file__).parents[2] / 'configs'

pytestmark = pytest.mark.skipif(
    not TOOLS.is_dir(), reason='MMPretrain is installed without its tools'
)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a tool by its path, with arguments; returns its module."""

    def run(name: str, *arguments: str, **patches: Any) -> None:
        spec = importlib.util.spec_from_file_location('peer', TOOLS / name)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for key, value in patches.items():
            monkeypatch.setattr(module, key, value)
        monkeypatch.setattr(sys, 'argv', [name, *arguments])
        module.main()

    return run


def test_get_flops(start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = CONFIGS / 'classification' / 'r18_scratch_folder.py'
    start('analysis_tools/get_flops.py', str(file), '--shape', '96')
    shown = capsys.readouterr().out
    assert 'Input shape: (3, 96, 96)' in shown
    # ResNet-18's 1.82 billion multiply-adds at 224 px, with its classifier.
    assert 'Flops: 0.334G' in shown and 'Params: 11.182M' in shown


@pytest.mark.parametrize('mode', ['original', 'transformed'])
def test_browse_dataset(
    mode: str, start: Any, class_folders: Path, tmp_path: Path
) -> None:
    start(
        'visualization/browse_dataset.py',
        str(CONFIGS / 'hgkd' / 'r18_folder.py'),
        *f'--not-show --phase train -n 2 -m {mode} -o {tmp_path}'.split(),
        '--cfg-options',
        f'train_dataloader.dataset.data_root={class_folders}',
        # Newer versions of Matplotlib ask for one argument more.
        adjust_bbox=lambda *unused: None,
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_vis_cam(start: Any, class_folders: Path, tmp_path: Path) -> None:
    file = str(CONFIGS / 'classification' / 'r18_finetune_folder.py')
    cfg = Config.fromfile(file)
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    model = get_model(cfg)
    checkpoint = tmp_path / 'a.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    image = next(class_folders.rglob('*.png'))
    maps = []
    for category in '01':
        out = tmp_path / f'{category}.png'
        arguments = f'{image} {file} {checkpoint} --save-path {out}'.split()
        start(
            'visualization/vis_cam.py',
            *arguments,
            *('--target-category', category),
        )
        maps.append(np.asarray(Image.open(out).convert('RGB'), np.float64))
    assert maps[0].shape == (96, 96, 3)
    # Each class looks elsewhere.
    assert np.abs(maps[0] - maps[1]).mean() > 1


def test_analyze_logs(
    start: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # As the logger of a run writes it.
    log = tmp_path / 'scalars.json'
    rows = (
        dict(
            lr=0.1, time=0.2, loss=2 / step, epoch=epoch, iter=step, step=step
        )
        for step, epoch in ((1, 1), (2, 1), (3, 2), (4, 2))
    )
    log.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    out = tmp_path / 'curve.png'
    tool = 'analysis_tools/analyze_logs.py'
    start(tool, 'plot_curve', str(log), '--keys', 'loss', '--out', str(out))
    assert out.stat().st_size > 1000
    start(tool, 'cal_train_time', str(log))
    assert 'average iter time' in capsys.readouterr().out
