import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


class FakeCalls:
    """Stands for the processes that the quick start runs.

    Args:
        environment (Path): The environment that ``python -m venv`` creates.
        importable (bool): What environments without a stamp import.
    """

    def __init__(self, environment: Path, importable: bool = False) -> None:
        self.environment = environment
        self.importable = importable
        self.failing = ''
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **kwargs: object) -> int:
        if command[1] == '-c':
            return 0 if self.importable else 1
        self.commands.append(command[1:])
        if command[2] == 'venv':
            (self.environment / 'bin').mkdir(parents=True)
            (self.environment / 'bin' / 'python').touch()
        return int(bool(self.failing) and self.failing in command)


@pytest.fixture
def calls(
    quickstart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeCalls:
    """The project, without an environment, started by a system's Python."""
    fake = FakeCalls(tmp_path / '.venv')
    monkeypatch.setattr(quickstart, 'ROOT', tmp_path)
    monkeypatch.setattr(subprocess, 'call', fake)
    monkeypatch.setattr(subprocess, 'check_output', lambda *_, **__: '4.12\n')
    monkeypatch.setattr(sys, 'prefix', sys.base_prefix)
    monkeypatch.setattr(
        quickstart.importlib.util,
        'find_spec',
        lambda name: 'found' if name == 'ensurepip' else None,
    )
    monkeypatch.delenv('VIRTUAL_ENV', raising=False)
    (tmp_path / 'setup.py').write_text('first')
    return fake


def install(root: Path) -> list[list[str]]:
    pip = ['-m', 'pip', 'install']
    return [
        [*pip, 'torch', 'torchvision'],
        [*pip, '--editable', f'{root}[all]'],
        [
            *pip,
            '--force-reinstall',
            '--no-deps',
            'opencv-python-headless==4.12',
        ],
    ]


def test_installs_once_then_runs(
    quickstart: ModuleType, tmp_path: Path, calls: FakeCalls
) -> None:
    run = ['-m', 'mmhgkd.apis.quickstart', '--epochs', '3']
    assert quickstart.main(['--epochs', '3']) == 0
    assert calls.commands == [
        ['-m', 'venv', str(tmp_path / '.venv')],
        *install(tmp_path),
        run,
    ]

    calls.commands.clear()
    assert quickstart.main(['--epochs', '3']) == 0
    assert calls.commands == [run]

    calls.commands.clear()
    (tmp_path / 'setup.py').write_text('second')
    assert quickstart.main(['--epochs', '3']) == 0
    assert calls.commands == [*install(tmp_path), run]


def test_runs_the_tests(quickstart: ModuleType, calls: FakeCalls) -> None:
    calls.importable = True
    quickstart.main(['--tests', '-k', 'mask'])
    assert calls.commands[-1] == ['-m', 'pytest', '-k', 'mask']


def test_exit_code_is_that_of_the_run(
    quickstart: ModuleType, calls: FakeCalls
) -> None:
    calls.failing = 'mmhgkd.apis.quickstart'
    assert quickstart.main([]) == 1


def test_active_environment_is_used(
    quickstart: ModuleType,
    tmp_path: Path,
    calls: FakeCalls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And left alone if the project was installed there by other means."""
    python = tmp_path / 'active' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv('VIRTUAL_ENV', str(tmp_path / 'active'))
    calls.importable = True
    assert quickstart.main([]) == 0
    assert calls.commands == [['-m', 'mmhgkd.apis.quickstart']]
    assert not (tmp_path / '.venv').exists()

    calls.importable = False
    assert quickstart.main([]) == 0
    assert calls.commands[1:4] == install(tmp_path)


def test_torch_version(quickstart: ModuleType, calls: FakeCalls) -> None:
    calls.importable = True
    assert quickstart.main(['--torch-version', '2.14.1']) == 0
    assert calls.commands[1][3:] == ['torch==2.14.1', 'torchvision']


def test_present_torch_is_kept(
    quickstart: ModuleType, tmp_path: Path, calls: FakeCalls
) -> None:
    calls.importable = True
    quickstart.install(tmp_path, None)
    assert calls.commands == [install(tmp_path)[1]]


def test_failing_pip(
    quickstart: ModuleType,
    tmp_path: Path,
    calls: FakeCalls,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls.failing = '--editable'
    assert quickstart.main([]) == 1
    assert (
        f'error: `pip install --editable {tmp_path}[all]` failed'
        in capsys.readouterr().err
    )
    # the failed installation is taken up again
    calls.failing = ''
    calls.commands.clear()
    assert quickstart.main([]) == 0
    assert calls.commands[:-1] == install(tmp_path)


def test_missing_venv_module(
    quickstart: ModuleType,
    calls: FakeCalls,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        quickstart.importlib.util, 'find_spec', lambda name: None
    )
    assert quickstart.main([]) == 1
    assert 'sudo apt install python3-venv' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('version', 'found', 'mend'),
    [
        ((3, 9, 18), 'python3.11', 'run `python3.11 tools/quickstart.py`'),
        ((3, 13, 0), '', 'install one of them'),
    ],
)
def test_unsupported_python(
    quickstart: ModuleType,
    calls: FakeCalls,
    version: tuple[int, ...],
    found: str,
    mend: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(quickstart.shutil, 'which', lambda name: name == found)
    monkeypatch.setattr(quickstart.sys, 'version_info', version)
    assert quickstart.main([]) == 1
    assert capsys.readouterr().err == (
        f'error: this is Python {version[0]}.{version[1]}, but python3.10, '
        f'python3.11, python3.12 are supported; {mend}\n'
    )


def test_needs_the_standard_library_only() -> None:
    code = (
        'import runpy, sys; '
        f'runpy.run_path({str(ROOT / "tools" / "quickstart.py")!r})'
    )
    subprocess.run([sys.executable, '-I', '-S', '-c', code], check=True)
