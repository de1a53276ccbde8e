import subprocess
import sys
from pathlib import Path

import pytest

from mmhgkd.cli import main
from mmhgkd.cli.main import COMMANDS

#: What takes seconds to import.
SLOW = ('torch', 'mmengine', 'mmcv', 'mmpretrain', 'timm', 'matplotlib')
QUICK = [
    (['--help'], 0, 'mmhgkd distill PHOTOS --out OUT'),
    (['--version'], 0, 'mmhgkd '),
    (['distil'], 2, 'did you mean distill?'),
    (['configs', 'r50_mae'], 0, 'hgkd/r50_mae'),
    (['configs', 'zzz'], 2, "no config has 'zzz' in its name"),
    (['students', 'mobile'], 0, 'mobilenet_v2'),
    (['students', 'zzz'], 2, "no student has 'zzz'"),
    (['teachers', 'mae'], 0, 'CC BY-NC 4.0 (non-commercial)'),
    (['teachers', 'zzz'], 2, "no teacher has 'zzz'"),
    (['train', 'hgkd/r51_mae'], 2, 'did you mean hgkd/r50_mae'),
    (['train', 'hgkd/r50_mae', '--epoc-s', '3'], 2, 'mean --epochs'),
    (['test', 'hgkd/r51_mae', 'a.pth'], 2, 'did you mean hgkd/r50_mae'),
    (['evaluate', 'no', '--images', 'no'], 2, 'there is no folder no'),
    (['report', 'no'], 2, 'there is no folder no'),
    (['export', 'a.pth', 'b.pth', '--config', 'no'], 2, 'there is no config'),
    (['export', 'a.pth'], 2, 'say what to write: a file, or `--to onnx`'),
    (['export', 'a.pth', 'b.pth', '--to', 'onnx'], 2, 'that end in .onnx'),
    (['export', 'a.pth', 'b.onnx', '--to', 'timm'], 2, 'that end in .pth'),
    (['export', 'a.pth', 'b.pth', '--half'], 2, 'is an option of graphs'),
    (['export', 'a.pth', 'b.onnx', '--half', '--int8', 'x'], 2, 'or in int8'),
    (['distill', 'no', '--out', 'out'], 2, 'there is no folder no'),
    (['distill', '.', '--out', 'out'], 2, 'no photo lies in .'),
    (['distill', '.'], 2, 'required: --out'),
    (['distill', '.', '--outt=o'], 2, "'--outt=o'; did you mean --out"),
    (['distill', 'no', '--ou', 'o'], 2, 'there is no folder no'),
    (['distill', '.', '--out', 'o', '--techer', 'x'], 2, 'mean --teacher'),
    (
        ['distill', '.', '--out', 'o', '--student', 'resnet51'],
        2,
        'did you mean resnet50',
    ),
    (
        ['distill', '.', '--out', 'o', '--teacher', 'vit_base_patch16_mae'],
        2,
        'did you mean vit_base_patch16_224.mae',
    ),
    (['distill', '.', '--out', 'o', '--epochs', '0'], 2, '--epochs must be'),
    (['distill', '.', '--out', 'o', '--seed', '-1'], 2, '--seed must be a'),
    (['distill', '.', '--out', 'o', '--epochs', 'x'], 2, "value: 'x'"),
    (['distill', '.', '--out', ''], 2, '--out is empty; give a folder'),
    (['distill', '.', '--out', '.'], 2, '. holds the photos; choose another'),
    (['distill', '', '--out', 'o'], 2, '`images` is empty'),
    (['distill', '.', '..', '--out', 'o'], 2, 'is a folder among several'),
    (
        ['distill', '.', '--out', 'o', '--student-weights', 'no.pth'],
        2,
        '--student-weights no.pth: no such file',
    ),
    (
        ['distill', '.', '--out', 'o', '--compare', 'pixels,superviced'],
        2,
        'did you mean supervised',
    ),
    (
        ['distill', '.', '--out', 'o', '--teacher', 'x', '--train-teacher'],
        2,
        'not both',
    ),
    (
        ['distill', '.', '--out', 'o', '--student', 'timm/swin_tiny'],
        2,
        'timm/swin_tiny is a transformer',
    ),
    (['students', 'deit_small'], 2, 'deit_small is a transformer'),
    (['demo', 'x'], 2, 'there is no folder x'),
    (['demo', '.', '--images', 'x'], 2, 'there is no folder x'),
    (['demo', '.', '--checkpoint', 'x.pth'], 2, 'there is no checkpoint x'),
    (['demo', '.', '--max-images', '0'], 2, '--max-images must be at least 1'),
    (['demo', '.', '--port', '70000'], 2, '--port must lie in 0..65535'),
    (['export', 'x.pth', '--to', 'onnx'], 2, 'x.pth: no such file'),
    (
        ['evaluate', '.', '--images', '.', '--checkpoint', 'x.pth'],
        2,
        'there is no checkpoint x.pth',
    ),
    (
        ['evaluate', '.', '--images', '.', '--workers', '-1'],
        2,
        '--workers must be a whole number',
    ),
    *([[name, '--help'], 0, 'usage: mmhgkd'] for name in COMMANDS),
]


@pytest.fixture(scope='module')
def answers(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[int, str, str]]:
    """What one process says to all of them, and what it has imported."""
    script = f"""
import contextlib, io, json, sys
from mmhgkd.cli import main
answers = []
for argv in {[argv for argv, _, _ in QUICK]!r}:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            code = main(argv)
        except SystemExit as error:
            code = error.code
    slow = [name for name in {SLOW!r} if name in sys.modules]
    answers.append((code, text.getvalue(), ' '.join(slow)))
print(json.dumps(answers))
"""
    process = subprocess.run(
        [sys.executable, '-c', script],
        cwd=tmp_path_factory.mktemp('empty'),
        capture_output=True,
        text=True,
        check=True,
    )
    import json

    return json.loads(process.stdout)


@pytest.mark.parametrize(
    ('index', 'argv', 'code', 'text'),
    [(index, *row) for index, row in enumerate(QUICK)],
    ids=[' '.join(row[0]) for row in QUICK],
)
def test_quick_answers(
    answers: list, index: int, argv: list[str], code: int, text: str
) -> None:
    found, output, slow = answers[index]
    assert (found, slow) == (code, '')
    assert text in output
    if code:
        assert output.startswith('error: ') and output.count('\n') == 1


def test_no_libgl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(name: str) -> None:
        raise ImportError('libGL.so.1: cannot open shared object file')

    # The function of that name hides the module.
    module = sys.modules['mmhgkd.cli.main']
    monkeypatch.setattr(module, 'import_module', fail)
    assert main(['train', 'x']) == 2
    assert '`mmhgkd doctor` says how to mend' in capsys.readouterr().err


def test_doctor(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(['doctor']) == 0
    text = capsys.readouterr().out
    assert 'All that is needed is here.' in text and 'GPU' in text
    monkeypatch.setitem(sys.modules, 'timm', None)
    assert main(['doctor']) == 1
    text = capsys.readouterr().out
    assert 'problem: timm cannot be imported' in text
    assert 'pip install timm' in text


def test_tools_are_the_same(tmp_path: Path) -> None:
    tools = Path(__file__).resolve().parents[2] / 'tools'
    for name, command in (
        ('train.py', 'train'),
        ('test.py', 'test'),
        ('demo.py', 'demo'),
        ('report.py', 'report'),
        ('model_converters/export_student.py', 'export'),
    ):
        text = (tools / name).read_text()
        assert f'from mmhgkd.cli.{command} import main' in text
