"""Install the project where needed, then run its quick start or its tests.

``python3 tools/quickstart.py`` needs nothing but Python with ``venv``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ((3, 10), (3, 11), (3, 12))
STAMP = 'mmhgkd-install.txt'
OPENCV_VERSION = (
    'from importlib.metadata import version; print(version("opencv-python"))'
)


class QuickstartError(Exception):
    """What the user has to mend before the quick start can go on."""


def parse_args(
    argv: Sequence[str] | None,
) -> tuple[argparse.Namespace, list[str]]:
    """Parse the options of the installation; the others are passed on."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        epilog='All other arguments are passed on to the quick start, or to '
        'pytest.',
    )
    add = parser.add_argument
    add('--tests', action='store_true', help='run the tests instead')
    add('--torch-version', help='of PyTorch; defaults to the newest')
    return parser.parse_known_args(argv)


def check_python() -> None:
    """Refuse versions of Python that the dependencies do not support."""
    if sys.version_info[:2] in VERSIONS:
        return
    names = [f'python{major}.{minor}' for major, minor in VERSIONS]
    mend = 'install one of them'
    for name in filter(shutil.which, names):
        mend = f'run `{name} tools/quickstart.py`'
    raise QuickstartError(
        f'this is Python {sys.version_info[0]}.{sys.version_info[1]}, but '
        f'{", ".join(names)} are supported; {mend}'
    )


def find_environment() -> Path:
    """The active virtual environment, else ``.venv`` of the project."""
    if os.environ.get('VIRTUAL_ENV'):
        return Path(os.environ['VIRTUAL_ENV'])
    inside = sys.prefix != sys.base_prefix
    if inside or importlib.util.find_spec('mmhgkd') is not None:
        return Path(sys.prefix)
    return ROOT / '.venv'


def python_of(environment: Path) -> Path:
    """Interpreter of an environment."""
    if environment == Path(sys.prefix):
        return Path(sys.executable)
    if os.name == 'nt':
        return environment / 'Scripts' / 'python.exe'
    return environment / 'bin' / 'python'


def create(environment: Path) -> None:
    """Create a virtual environment."""
    if importlib.util.find_spec('ensurepip') is None:
        raise QuickstartError(
            'this Python cannot create virtual environments; install the '
            'package `python3-venv` (`sudo apt install python3-venv`)'
        )
    print(f'Creating {environment}', flush=True)
    if subprocess.call([sys.executable, '-m', 'venv', str(environment)]):
        raise QuickstartError(f'{environment} could not be created; see above')


def fingerprint() -> str:
    """Hash of what the installation depends on."""
    files = [ROOT / 'setup.py', *sorted(ROOT.glob('requirements/*.txt'))]
    return hashlib.sha256(
        b''.join(file.read_bytes() for file in files)
    ).hexdigest()


def is_complete(environment: Path) -> bool:
    """Whether nothing is to be installed.

    An environment where the project was installed by other means is left
    alone, as it may hold other builds of the dependencies on purpose.
    """
    stamp = environment / STAMP
    if stamp.exists():
        return stamp.read_text() == fingerprint()
    return can_import(environment, 'mmhgkd')


def can_import(environment: Path, module: str) -> bool:
    """Whether an environment has a module, whatever folder is current."""
    command = [str(python_of(environment)), '-c', f'import {module}']
    quiet = subprocess.DEVNULL
    code = subprocess.call(
        command, cwd=environment, stdout=quiet, stderr=quiet
    )
    return code == 0


def install(environment: Path, torch_version: str | None) -> None:
    """Install PyTorch, then the project with what its tests need."""
    if torch_version:
        pip(environment, f'torch=={torch_version}', 'torchvision')
    elif not can_import(environment, 'torch, torchvision'):
        pip(environment, 'torch', 'torchvision')
    pip(environment, '--editable', f'{ROOT}[all]')
    if not can_import(environment, 'cv2'):
        # The build with windows, which mmcv asks for, needs libGL. Servers
        # lack it.
        command = [str(python_of(environment)), '-c', OPENCV_VERSION]
        version = subprocess.check_output(command, text=True).strip()
        headless = f'opencv-python-headless=={version}'
        pip(environment, '--force-reinstall', '--no-deps', headless)
    (environment / STAMP).write_text(fingerprint())


def pip(environment: Path, *requirements: str) -> None:
    """Install requirements."""
    command = [str(python_of(environment)), '-m', 'pip', 'install']
    print(f'Installing {" ".join(requirements)}', flush=True)
    if subprocess.call([*command, *requirements]):
        raise QuickstartError(
            f'`pip install {" ".join(requirements)}` failed, see its message '
            f'above; to start afresh delete {environment}'
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Set up, then run; returns the exit code."""
    args, rest = parse_args(argv)
    try:
        check_python()
        environment = find_environment()
        if not python_of(environment).exists():
            create(environment)
        if args.torch_version or not is_complete(environment):
            install(environment, args.torch_version)
    except QuickstartError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    module = 'pytest' if args.tests else 'mmhgkd.apis.quickstart'
    return subprocess.call(
        [str(python_of(environment)), '-m', module, *rest],
        cwd=ROOT if args.tests else None,
    )


if __name__ == '__main__':
    sys.exit(main())
