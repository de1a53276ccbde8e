import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mmhgkd

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    'LICENSE',
    'MANIFEST.in',
    'pyproject.toml',
    'setup.py',
    'configs',
    'mmhgkd',
    'requirements',
    'tools',
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what the package is built from."""
    folder = tmp_path / 'source'
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name,
                folder / name,
                ignore=shutil.ignore_patterns('.mim'),
            )
        else:
            shutil.copy2(ROOT / name, folder)
    (folder / 'model-index.yml').write_text('Import: []\n')
    return folder


def pip(*argv: str) -> None:
    process = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            *argv,
            '--no-deps',
            '--no-build-isolation',
        ],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.fixture
def wheel(source: Path, tmp_path: Path) -> zipfile.ZipFile:
    (source / 'tools' / '__pycache__').mkdir(exist_ok=True)
    (source / 'tools' / '__pycache__' / 'train.pyc').touch()
    pip('wheel', str(source), '-w', str(tmp_path))
    return zipfile.ZipFile(next(tmp_path.glob('mmhgkd-*.whl')))


def test_wheel_carries_configs_tools_and_types(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    carried = [
        path.relative_to(ROOT)
        for folder in ('configs', 'tools')
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    ]
    expected = {f'mmhgkd/.mim/{path.as_posix()}' for path in carried}
    expected |= {'mmhgkd/py.typed', 'mmhgkd/.mim/model-index.yml'}
    assert expected <= names
    assert not [name for name in names if '__pycache__' in name]
    assert {name.split('/')[0] for name in names} == {
        'mmhgkd',
        f'mmhgkd-{mmhgkd.__version__}.dist-info',
    }
    script = wheel.getinfo('mmhgkd/.mim/tools/dist_train.sh')
    assert script.external_attr >> 16 & 0o111


def test_editable_install_links_configs_and_tools(
    source: Path, tmp_path: Path
) -> None:
    pip('install', '-e', str(source), '--target', str(tmp_path / 'site'))
    mim = source / 'mmhgkd' / '.mim'
    assert {path.name for path in mim.iterdir()} == {
        'configs',
        'tools',
        'model-index.yml',
    }
    assert (mim / 'tools').resolve() == source / 'tools'
    # a link, so that edits of the repository are seen
    (source / 'tools' / 'new.py').touch()
    assert (mim / 'tools' / 'new.py').exists()


def test_extras(wheel: zipfile.ZipFile) -> None:
    # An installation may be older than `setup.py`.
    distribution = importlib.metadata.PathDistribution(
        zipfile.Path(wheel, f'mmhgkd-{mmhgkd.__version__}.dist-info/')
    )
    assert set(distribution.metadata.get_all('Provides-Extra') or []) == {
        'det',
        'seg',
        'spconv',
        'export',
        'log',
        'docs',
        'dev',
        'all',
    }
    requirements = distribution.requires or []

    def lines(*extras: str) -> set[str]:
        return {
            line.split(';')[0].strip()
            for line in requirements
            for extra in extras
            if f'extra == "{extra}"' in line
        }

    assert lines('all') == lines('det', 'seg', 'export', 'docs', 'dev')
    assert lines('log') == {'tensorboard', 'wandb'}
    # the tests log to it
    assert 'tensorboard' in lines('all')
    assert not any('spconv' in line for line in lines('all'))
