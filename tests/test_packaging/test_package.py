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
    expected |= {
        'mmhgkd/py.typed',
        'mmhgkd/cli/demo.html',
        'mmhgkd/.mim/model-index.yml',
    }
    scripts = f'mmhgkd-{mmhgkd.__version__}.dist-info/entry_points.txt'
    assert b'mmhgkd = mmhgkd.cli:main' in wheel.read(scripts)
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
        'heif',
        'log',
        'openvino',
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


WATCH = """
import logging, os, signal, sys, warnings
import torch
import mmengine.logging
from mmengine import registry
from mmengine.fileio import file_client
from mmengine.fileio.handlers import file_handlers
from mmengine.runner import Runner, checkpoint
from mmpretrain.apis.model import ModelHub
from mmpretrain.registry import MODELS

def state():
    nodes = [v for n, v in vars(registry).items() if n.isupper()] + [MODELS]
    return dict(
        hub=dict(ModelHub._models_dict),
        file_handlers=dict(file_handlers),
        print_log=(mmengine.logging.print_log, file_client.print_log),
        registries=[(dict(n._module_dict), dict(n.children)) for n in nodes],
        runner=dict(vars(Runner)),
        checkpoint=dict(vars(checkpoint)),
        torch_load=torch.load,
        safe_globals=torch.serialization.get_safe_globals(),
        default_dtype=torch.get_default_dtype(),
        threads=torch.get_num_threads(),
        warnings=list(warnings.filters),
        logging=(list(logging.root.handlers), logging.root.level),
        hooks=(sys.excepthook, list(sys.path_hooks), list(sys.path)),
        signal=signal.getsignal(signal.SIGINT),
        environment=dict(os.environ),
    )

before, finders = state(), list(sys.meta_path)
import mmhgkd
after = state()
changed = [name for name in before if after[name] != before[name]]
assert not changed, changed
assert sys.meta_path[:-1] == finders
assert sys.meta_path[-1].__name__ == 'OperatorFinder'
assert 'mmhgkd.apis' not in sys.modules
assert not [name for name in sys.modules if name.startswith('mmcv.ops')]
mmhgkd.register_models()
assert len(ModelHub._models_dict) > len(before['hub'])
"""


def test_import_leaves_other_packages_alone() -> None:
    """Apart from the provider of MMCV's operators."""
    subprocess.run([sys.executable, '-c', WATCH], check=True)


def test_import_leaves_the_importers_alone() -> None:
    """Also where nothing else is imported yet."""
    code = (
        'import sys; before = list(sys.meta_path); import mmhgkd; '
        'assert sys.meta_path[:-1] == before; '
        'assert sys.meta_path[-1].__name__ == "OperatorFinder"'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_import_is_quick() -> None:
    code = (
        'import time, torch, mmengine; start = time.perf_counter(); '
        'import mmhgkd, sys; print(time.perf_counter() - start); '
        'assert "mmengine.runner" not in sys.modules; '
        'assert "mmpretrain" not in sys.modules'
    )
    process = subprocess.run(
        [sys.executable, '-c', code],
        check=True,
        capture_output=True,
        text=True,
    )
    assert float(process.stdout) < 1
