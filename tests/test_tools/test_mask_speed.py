import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
SMALL = ('--depth', '18', '--image-size', '64', '--batch-size', '2')


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module('mask_speed')


def test_tables(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out.json'
    options = (*SMALL, '--device', 'cpu', '--threads', '1', '--repeats', '2')
    sizes = ('--global-batch', '64', '--ranks', '1', '16')
    assert tool.main([*options, *sizes, '--json', str(out)]) == 0
    found = json.loads(out.read_text())
    assert {x: y['images'] for x, y in found['draws'].items()} == {
        '1': 64,
        '16': 4,
    }
    rows = tool.ROWS
    if importlib.util.find_spec('triton') is None:
        rows = rows[:1]
    assert list(found['tables']) == list(rows)
    for row in found['tables'].values():
        assert 0 < row['host_ms'] <= row['ms']
        # A 3x3 convolution at each stride, and the pooling, at least.
        assert row['tables'] >= 5
    page = capsys.readouterr().out
    assert all(f'| {row} |' in page for row in rows)


def test_a_rank_must_have_as_many_images(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tool.main(['--global-batch', '64', '--ranks', '3'])
    assert 'no multiple of --ranks 3' in capsys.readouterr().err
