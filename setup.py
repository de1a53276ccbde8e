"""Packaging of mmhgkd."""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
README = ROOT / 'README.md'
MIM_ITEMS = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Gives the package what ``mim`` looks for in ``mmhgkd/.mim``.

    A wheel gets copies. An editable install gets links to the files of the
    repository, or copies where the system allows no links.
    """

    def run(self) -> None:
        """Build the package, then ``.mim``."""
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib)
        mim = package / 'mmhgkd' / '.mim'
        if mim.exists():
            shutil.rmtree(mim)
        mim.mkdir(parents=True)
        for name in MIM_ITEMS:
            source = ROOT / name
            if not source.exists():
                continue
            if self.editable_mode:
                link_or_copy(source, mim / name)
            else:
                copy(source, mim / name)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` a relative link to ``source``, else a copy."""
    try:
        target.symlink_to(
            os.path.relpath(source, target.parent), source.is_dir()
        )
    except OSError:
        copy(source, target)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder without compiled Python files."""
    if source.is_dir():
        shutil.copytree(
            source, target, ignore=shutil.ignore_patterns('__pycache__')
        )
    else:
        shutil.copy2(source, target)


def read_version() -> str:
    """Version in ``mmhgkd/version.py``."""
    text = (ROOT / 'mmhgkd' / 'version.py').read_text(encoding='utf-8')
    found = re.search(r"__version__ = '(.+)'", text)
    if found is None:
        raise RuntimeError('mmhgkd/version.py defines no __version__')
    return found.group(1)


def requirements(*names: str) -> list[str]:
    """Requirements in the files ``requirements/NAME.txt``."""
    lines: list[str] = []
    for name in names:
        path = ROOT / 'requirements' / f'{name}.txt'
        lines += path.read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


EXTRAS = ('det', 'seg', 'export', 'docs', 'dev')

setup(
    name='mmhgkd',
    version=read_version(),
    description='Heterogeneous generative knowledge distillation with masked '
    'image modeling, for MMPretrain, MMDetection and MMSegmentation',
    long_description=README.read_text(encoding='utf-8')
    if README.exists()
    else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmhgkd', 'mmhgkd.*']),
    package_data={'mmhgkd': ['py.typed', 'cli/demo.html']},
    entry_points={'console_scripts': ['mmhgkd = mmhgkd.cli:main']},
    python_requires='>=3.10,<3.13',
    install_requires=requirements('mminstall', 'runtime'),
    extras_require={
        **{name: requirements(name) for name in EXTRAS},
        'heif': requirements('heif'),
        'log': requirements('log'),
        'openvino': requirements('openvino'),
        'spconv': requirements('spconv'),
        # spconv's wheels are bound to one CUDA version and wandb is heavy:
        # never by default. TensorBoard is in `dev`, as the tests need it.
        'all': requirements(*EXTRAS),
    },
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
