import runpy
import warnings
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from mmengine.utils import digit_version


class Package(NamedTuple):
    """An OpenMMLab package and the versions that this project is tested with.

    Args:
        module (str): Name it is imported by, the same in both families.
        minimum (str): First tested version.
        below (str): First version beyond the tested ones.
        maintained (str): Distribution of the maintained family.
        official (tuple[str]): Distributions of the official family.
    """

    module: str
    minimum: str
    below: str
    maintained: str
    official: tuple[str, ...]


PACKAGES = (
    Package(
        'mmengine',
        '0.10.12',
        '0.11',
        'onedl-mmengine',
        ('mmengine', 'mmengine-lite'),
    ),
    Package(
        'mmcv',
        '2.3.6',
        '2.4',
        'onedl-mmcv',
        ('mmcv', 'mmcv-full', 'mmcv-lite'),
    ),
    Package('mmpretrain', '1.3.6', '1.4', 'onedl-mmpretrain', ('mmpretrain',)),
    Package('mmdet', '3.5.1', '3.6', 'onedl-mmdetection', ('mmdet',)),
    Package(
        'mmseg', '1.4.2', '1.5', 'onedl-mmsegmentation', ('mmsegmentation',)
    ),
)


def check_versions() -> None:
    """Warn of OpenMMLab packages that this project is not tested with.

    The version is the one of the importable module, whichever distribution
    it comes from. Absent packages are no concern here.
    """
    for package in PACKAGES:
        check_mixed(package)
        check_tested(package)


def check_mixed(package: Package) -> None:
    """Warn if both families' distributions of a package are installed.

    They share one folder, so each has overwritten files of the other.
    """
    official = [name for name in package.official if _is_installed(name)]
    if official and _is_installed(package.maintained):
        names = ' '.join(official)
        warnings.warn(
            f'both `{names}` and `{package.maintained}` are installed and '
            f'share the folder of `{package.module}`; run `pip uninstall -y '
            f'{names}`, then `pip install --force-reinstall --no-deps '
            f'{package.maintained}`',
            stacklevel=2,
        )


def check_tested(package: Package) -> None:
    """Warn if the version of a package lies outside the tested range."""
    version = _module_version(package.module)
    if version is None:
        return
    if not (
        digit_version(package.minimum)
        <= digit_version(version)
        < digit_version(package.below)
    ):
        requirement = (
            f'{package.maintained}>={package.minimum},<{package.below}'
        )
        warnings.warn(
            f'{package.module} {version} is not among the tested versions; '
            f'if something breaks, run `pip install "{requirement}"`',
            stacklevel=2,
        )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _module_version(module: str) -> str | None:
    """Version of an importable package, without importing the package.

    Importing MMDetection takes seconds and needs compiled operators.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name('version.py')
    return runpy.run_path(str(path))['__version__']
