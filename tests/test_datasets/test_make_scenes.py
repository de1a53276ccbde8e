import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from mmhgkd.datasets.scenes import TASKS

TOOL = (
    Path(__file__).resolve().parents[2]
    / 'tools/dataset_converters/make_scenes.py'
)
OPTIONS = ['--num-train', '2', '--num-val', '1', '--image-size', '32']


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location('make_scenes', TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_task(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / 'scenes'
    assert tool.main([str(root), *OPTIONS]) == 0
    assert (root / 'train/circle/000001.png').is_file()
    assert capsys.readouterr().out == f'cls: {root}\n'


def test_all_tasks(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main([str(tmp_path), '--task', 'all', *OPTIONS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f'{task}: {tmp_path / task}' for task in TASKS]
    for name in (
        'cls/train/circle',
        'shapes/train/circle',
        'det/train2017',
        'seg/images/training',
    ):
        assert any((tmp_path / name).iterdir())


def test_error_is_one_line(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'other').touch()
    assert tool.main([str(tmp_path), *OPTIONS]) == 2
    message = capsys.readouterr().err
    assert message.startswith('error:') and message.count('\n') == 1
    assert str(tmp_path) in message
