import runpy
import sys
import warnings
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version


class Package(NamedTuple):
    """An OpenMMLab package and the versions that this project is tested with.

    It is imported by the same name in the maintained and the official family.
    """

    module: str
    minimum: str  #: first tested version
    below: str  #: first version beyond the tested ones
    maintained: str  #: distribution of the maintained family
    official: str  #: distributions of the official family


PACKAGES = tuple(
    Package(*row.split(maxsplit=4))
    for row in (
        'mmengine 0.10.12 0.11 onedl-mmengine mmengine mmengine-lite',
        'mmcv 2.3.6 2.4 onedl-mmcv mmcv mmcv-full mmcv-lite',
        'mmpretrain 1.3.6 1.4 onedl-mmpretrain mmpretrain',
        'mmdet 3.5.1 3.6 onedl-mmdetection mmdet',
        'mmseg 1.4.2 1.5 onedl-mmsegmentation mmsegmentation',
    )
)


def check_versions() -> None:
    """Warn of OpenMMLab packages that this project is not tested with.

    The version is the one of the importable module, whichever distribution
    it comes from. Absent packages are no concern here. Both families share
    one folder, so each would overwrite files of the other.
    """
    for module, minimum, below, maintained, official in PACKAGES:
        names = ' '.join(filter(_is_installed, official.split()))
        if names and _is_installed(maintained):
            warnings.warn(
                f'both `{names}` and `{maintained}` are installed and share '
                f'the folder of `{module}`; run `pip uninstall -y {names}`, '
                'then `pip install --force-reinstall --no-deps '
                f'{maintained}`',
                stacklevel=2,
            )
        version = _module_version(module)
        if version is None:
            continue
        tested = Version(minimum), Version(below)
        if not tested[0] <= Version(version) < tested[1]:
            warnings.warn(
                f'{module} {version} is not among the tested versions; if '
                'something breaks, run `pip install '
                f'"{maintained}>={minimum},<{below}"`',
                stacklevel=2,
            )


def leave_out_multimodal() -> None:
    """Let MMPretrain be imported beside a transformers that it cannot use.

    Its multi-modal models take base classes from transformers, which are
    None from version 5 on, and fail at the import of all of MMPretrain. It
    has placeholders for them, which its own look at the dependencies selects;
    here that look is taken first.
    """
    name = 'mmpretrain.utils.dependency'
    package = util.find_spec('mmpretrain')
    if (
        name in sys.modules
        or package is None
        or package.origin is None
        or not _is_installed('transformers')
        or Version(metadata.version('transformers')) < Version('5.0')
    ):
        return
    path = Path(package.origin).parent / 'utils' / 'dependency.py'
    spec = util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)['WITH_MULTIMODAL'] = False
    sys.modules[name] = module


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
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name('version.py')
    return runpy.run_path(str(path))['__version__']
