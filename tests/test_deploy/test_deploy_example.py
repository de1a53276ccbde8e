"""The file runs where neither mmhgkd nor PyTorch can be imported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from task_files import (
    classifier,
    segmentor,
    two_stage,
    write_task,
)

from mmhgkd.deploy import export_onnx
from mmhgkd.deploy.onnx_file import draw_photos

ROOT = Path(__file__).resolve().parents[2]
BLOCKED = """
import importlib.abc, runpy, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked}:
            raise ImportError(f'{{name}} is not installed here')

sys.meta_path.insert(0, Block())
sys.argv = {argv}
runpy.run_path(sys.argv[0], run_name='__main__')
"""
PACKAGES = (
    'mmhgkd',
    'torch',
    'torchvision',
    'timm',
    'mmengine',
    'mmcv',
    'mmpretrain',
    'mmdet',
    'mmseg',
    'cv2',
)


def run_blocked(*argv: str) -> str:
    code = BLOCKED.format(blocked=PACKAGES, argv=list(argv))
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / 'photo.png'
    pixels = draw_photos(1, 90, 120, seed=2)[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)
    return str(path)


def test_the_block_blocks() -> None:
    with pytest.raises(AssertionError, match='torch is not installed'):
        run_blocked(str(ROOT / 'mmhgkd' / 'deploy' / 'adaptive_pool.py'))


@pytest.mark.parametrize(
    ('scope', 'model', 'words'),
    [
        ('mmpretrain', classifier(), ('cat: ', ' %')),
        ('mmseg', segmentor('fcn'), ('of the pixels',)),
        ('mmdet', two_stage(), ('corners', 'boxes in 128x96 px')),
    ],
)
def test_runs_alone(
    scope: str,
    model: dict[str, Any],
    words: tuple[str, ...],
    tmp_path: Path,
    photo: str,
) -> None:
    pytest.importorskip(scope)
    checkpoint = write_task(tmp_path, scope, model)
    export_onnx(checkpoint, tmp_path / 'a.onnx')
    result = tmp_path / 'result.png'
    text = run_blocked(
        str(ROOT / 'tools' / 'deploy_example.py'),
        str(tmp_path / 'a.onnx'),
        photo,
        str(result),
    )
    assert all(word in text for word in words)
    if scope != 'mmpretrain':
        assert np.asarray(Image.open(result)).shape == (
            (96, 96) if scope == 'mmseg' else (96, 128)
        )


def test_script_of_the_page(tmp_path: Path, photo: str) -> None:
    """The ten lines of docs/export.md."""
    page = (ROOT / 'docs' / 'export.md').read_text()
    (block,) = [
        part.split('```')[0]
        for part in page.split('```python\n')[1:]
        if 'InferenceSession' in part and 'Image.open' in part
    ]
    assert len(block.strip().splitlines()) <= 12
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    export_onnx(checkpoint, tmp_path / 'model.onnx')
    script = tmp_path / 'script.py'
    block = block.replace("'model.onnx'", repr(str(tmp_path / 'model.onnx')))
    script.write_text(block.replace("'photo.jpg'", repr(photo)))
    assert run_blocked(str(script)).split()[0] in ('cat', 'dog', 'fish')
