import importlib
from pathlib import Path

import pytest

TOOL = Path(__file__).with_name('soak.py')


def test_some_faults_are_survived(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tool itself runs hundreds of them."""
    # The processes that it starts import it by its name.
    monkeypatch.syspath_prepend(TOOL.parent)
    soak = importlib.import_module('soak')
    kinds = ['signal', 'disk', 'checkpoint']
    code = soak.main(['--faults', '3', '--kinds', *kinds])
    out = capsys.readouterr().out
    assert code == 0, out
    assert '3 survived, 0 lost' in out
