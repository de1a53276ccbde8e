"""Say what is installed, what is missing, and the mend."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib import import_module, metadata

from mmhgkd.catalog import TEACHERS, cached_teacher, config_folder
from mmhgkd.utils.versions import PACKAGES
from mmhgkd.version import __version__

from .arguments import Parser, print_table, quiet_import

NEEDED = {
    'torch': 'pip install torch torchvision',
    'torchvision': 'pip install torch torchvision',
    'mmengine': 'pip install "onedl-mmengine>=0.10.12,<0.11"',
    'cv2': 'pip install --force-reinstall --no-deps opencv-python-headless',
    'mmcv': 'pip install "onedl-mmcv>=2.3.6,<2.4"',
    'mmpretrain': 'pip install "onedl-mmpretrain>=1.3.6,<1.4"',
    'timm': 'pip install timm',
    'sklearn': 'pip install scikit-learn',
}
OPTIONAL = {
    'onnx': ('ONNX files', 'pip install onnx onnxruntime'),
    'onnxruntime': ('ONNX files', 'pip install onnx onnxruntime'),
    'mmdet': ('detection', 'pip install "mmhgkd[det]"'),
    'mmseg': ('segmentation', 'pip install "mmhgkd[seg]"'),
    'tensorboard': ('--log-to tensorboard', 'pip install "mmhgkd[log]"'),
}
MEMORY = 4  #: GiB below which a training is likely to fail


def main(argv: Sequence[str] | None = None) -> int:
    """Look at everything; 1 where something that is needed is missing."""
    parser = Parser('doctor', description=__doc__)
    parser.parse_args(argv)
    problems: list[str] = []
    rows = [
        ('mmhgkd', __version__),
        ('Python', f'{platform.python_version()} ({sys.executable})'),
        ('system', f'{platform.system()} {platform.machine()}'),
        ('cores', str(os.cpu_count())),
        ('memory', _memory(problems)),
    ]
    for module, mend in NEEDED.items():
        rows.append((module, _version(module, mend, problems)))
    rows.append(('GPU', _gpu()))
    for module, (use, mend) in OPTIONAL.items():
        version = _installed(module)
        rows.append((module, version or f'- (for {use}: {mend})'))
    try:
        rows.append(('configs', str(config_folder())))
    except FileNotFoundError as error:
        problems.append(str(error))
    rows.append(('teachers', _teachers()))
    problems += _mixed_families()
    print_table(rows)
    print()
    for problem in problems:
        print(f'problem: {problem}')
    if not problems:
        print('All that is needed is here.')
    return 1 if problems else 0


def _version(module: str, mend: str, problems: list[str]) -> str:
    """Import a module, as only that shows whether it works."""
    try:
        with quiet_import():
            found = import_module(module)
    except Exception as error:  # broken installations raise anything
        reason = ' '.join(str(error).split())[:100]
        problems.append(f'{module} cannot be imported ({reason}): {mend}')
        return 'MISSING'
    return str(getattr(found, '__version__', 'there'))


def _installed(module: str) -> str:
    names = {package.module: package.maintained for package in PACKAGES}
    for name in (names.get(module, module), module):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ''


def _memory(problems: list[str]) -> str:
    try:
        total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, OSError, ValueError):
        return 'unknown'
    gigabytes = total / 2**30
    if gigabytes < MEMORY:
        problems.append(
            f'{gigabytes:.1f} GiB of memory are few: pass --batch-size 16 '
            '--workers 0'
        )
    return f'{gigabytes:.1f} GiB'


def _gpu() -> str:
    try:
        import torch
    except Exception:  # said already
        return 'unknown'
    if not torch.cuda.is_available():
        return 'none that PyTorch can use: trainings run on the CPU'
    free, total = torch.cuda.mem_get_info()
    return (
        f'{torch.cuda.get_device_name()}, {free / 2**30:.0f} of '
        f'{total / 2**30:.0f} GiB free'
    )


def _teachers() -> str:
    try:
        names = [n for n, e in TEACHERS.items() if cached_teacher(e)]
    except ImportError:
        return 'unknown, huggingface_hub is missing'
    return ', '.join(names) or (
        'none here but the small one of mmhgkd; `mmhgkd distill --teacher '
        'NAME` fetches one'
    )


def _mixed_families() -> list[str]:
    problems = []
    for package in PACKAGES:
        official = [n for n in package.official.split() if _installed_as(n)]
        if official and _installed_as(package.maintained):
            problems.append(
                f'both {official[0]} and {package.maintained} are installed '
                f'and overwrite each other: pip uninstall -y {official[0]}, '
                'then pip install --force-reinstall --no-deps '
                f'{package.maintained}'
            )
    return problems


def _installed_as(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
