import runpy
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / 'tools' / 'model_converters'


@pytest.mark.parametrize(
    ('tool', 'argv', 'message'),
    [
        ('export_student', ['no.pth', 'out.pth'], 'no.pth: no such file'),
        ('export_student', ['bare.pth', 'out.pth'], 'holds no config'),
        (
            'export_student',
            ['bare.pth', 'out.pth', '--config', 'no.py'],
            'there is no config',
        ),
        ('import_checkpoint', ['no.pth', 'out.pth'], 'no.pth: no such file'),
        (
            'import_checkpoint',
            ['bare.pth', 'out.pth'],
            'no checkpoint of SparK',
        ),
    ],
)
def test_errors_are_one_line(
    tool: str,
    argv: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(dict(a=torch.ones(1)), 'bare.pth')
    monkeypatch.setattr(sys, 'argv', [tool, *argv])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error
    assert error.count('\n') == 1
    assert not Path('out.pth').exists()
