"""Checks of a config before anything is built from it.

What would otherwise fail minutes later, or with a traceback from deep inside
a dataset, ends here in one ConfigError with the option that mends it.
"""

import inspect
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS, MODELS, OPTIM_WRAPPERS

from .bfloat16 import multiplies_bfloat16
from .build_errors import check_type
from .classification_checks import check_classification
from .config_options import find_key
from .detection_checks import check_detection
from .errors import ConfigError
from .find_type import find_type, import_datasets
from .run_checks import check_kinds, check_settings
from .segmentation_checks import check_segmentation
from .value_checks import find

#: Optimizer wrapper that computes in bfloat16, on any device.
BFLOAT16 = 'AutocastOptimWrapper'
#: Optimizer wrappers that compute in half precision.
MIXED_PRECISION = ('AmpOptimWrapper', BFLOAT16)


def check_config(cfg: Config, sections: Sequence[str]) -> None:
    """Run all checks.

    Args:
        cfg (Config): The final config.
        sections (Sequence[str]): Top-level keys that the run uses and that
            may hold datasets.
    """
    settings = cfg.to_dict()
    check_kinds(settings)
    # Before types are looked up, which imports them, too.
    import_datasets(cfg.get('default_scope'))
    check_settings(settings)
    check_layers(cfg)
    check_data_roots(cfg, sections)
    check_load_from(cfg)
    check_model_checkpoints(cfg)
    check_mixed_precision(cfg)
    check_classification(cfg, sections)
    check_detection(cfg, sections)
    check_segmentation(cfg, sections)
    check_writing(cfg)


def require(cfg: Config, sections: Sequence[str]) -> None:
    """The config has the top-level keys that the run cannot do without.

    They are mappings and lists, so that options can be put into them.
    """
    for section in sections:
        if cfg.get(section) is None:
            raise ConfigError(
                f'the config has no `{section}`, which this run needs'
            )
    check_kinds(cfg.to_dict())


def check_layers(cfg: Config) -> None:
    """The kinds of layers that the model asks for exist.

    MMCV says of those that do not that it cannot find `None`.
    """
    for key in ('norm_cfg', 'act_cfg', 'conv_cfg'):
        for path, part in find_key(cfg.get('model'), key, 'model'):
            if not isinstance(part[key] or {}, Mapping):
                raise ConfigError(
                    f'`{path}` must be a dict of settings, got {part[key]!r}'
                )
            kind = (part[key] or {}).get('type')
            if isinstance(kind, str):
                check_type(MODELS, kind, cfg.get('default_scope'))


def check_data_roots(cfg: Config, sections: Sequence[str]) -> None:
    """Each local ``data_root`` exists, or its dataset downloads it."""
    for section in sections:
        for path, dataset in find_key(cfg.get(section), 'data_root', section):
            root = dataset['data_root']
            if _is_missing(root) and not _downloads(cfg, dataset):
                raise ConfigError(
                    f'the data folder `{root}` of `{path}` does not exist; '
                    f'add `--cfg-options {path}=FOLDER`'
                )


def check_load_from(cfg: Config) -> None:
    """The checkpoint to test, to resume or to start from exists."""
    if _is_missing(cfg.get('load_from')):
        raise ConfigError(
            f'the checkpoint `{cfg.load_from}` does not exist; check the path '
            'on the command line or `load_from` in the config'
        )
    _check_plain(cfg.get('load_from'), 'load_from')


def check_model_checkpoints(cfg: Config) -> None:
    """Pre-trained parts of the model, such as the teacher, exist."""
    for path, part in find_key(cfg.get('model'), 'checkpoint', 'model'):
        if part['checkpoint'] == '' or not isinstance(
            part['checkpoint'], (str, os.PathLike, type(None))
        ):
            raise ConfigError(
                f'`{path}` must be a file, got {part["checkpoint"]!r}'
            )
        if _is_missing(part['checkpoint']):
            raise ConfigError(
                f'the checkpoint `{part["checkpoint"]}` of `{path}` does not '
                f'exist; add `--cfg-options {path}=FILE`'
            )
        _check_plain(part['checkpoint'], path)


def check_writing(cfg: Config) -> None:
    """Files can be made in the work folder, or where it will be made."""
    folders = {'--work-dir': cfg.get('work_dir')}
    option = 'default_hooks.checkpoint.out_dir'
    for folder in find(cfg.to_dict(), option):
        folders[option] = folder
    for option, folder in folders.items():
        if folder and '://' not in folder:
            _check_writing(folder, option)


def _check_writing(folder: str, option: str) -> None:
    place = os.path.abspath(folder)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    what = 'work folder' if option == '--work-dir' else 'folder'
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ConfigError(
            f'cannot write into the {what} `{folder}` '
            f'({error.strerror}); set `{option}` to another folder'
        ) from error


def is_mixed_precision(cfg: Config) -> bool:
    """Whether the optimizer wrapper computes in half precision."""
    return _wrapper_name(cfg) in MIXED_PRECISION


def is_plain(cfg: Config) -> bool:
    """Whether the optimizer wrapper is the one for full precision."""
    return _wrapper_name(cfg) == 'OptimWrapper'


def computes_bfloat16(cfg: Config) -> bool:
    """Whether a run computes in bfloat16, on a CPU only if that saves time."""
    if _wrapper_name(cfg) != BFLOAT16:
        return False
    return get_device() != 'cpu' or multiplies_bfloat16('cpu')


def check_mixed_precision(cfg: Config) -> None:
    """Mixed precision has a device that it is for."""
    on_cpu = is_mixed_precision(cfg) and get_device() == 'cpu'
    if on_cpu and not computes_bfloat16(cfg):
        raise ConfigError(
            'mixed precision training needs a GPU, or a processor with '
            'products of bfloat16; leave `--amp` out, or add '
            '`--cfg-options optim_wrapper.type=OptimWrapper`'
        )


def _wrapper_name(cfg: Config) -> str:
    kind = (cfg.get('optim_wrapper') or {}).get('type')
    found = find_type(OPTIM_WRAPPERS, kind, cfg.get('default_scope'))
    return getattr(found, '__name__', '')


def _is_missing(path: Any) -> bool:
    """Whether a value is the path of a local file that does not exist."""
    return (
        isinstance(path, (str, os.PathLike))
        and bool(path)
        and '://' not in str(path)
        and not os.path.exists(os.path.expanduser(path))
    )


def _check_plain(path: Any, option: str) -> None:
    """A local checkpoint is a file; reading a pipe would wait for ever."""
    if not isinstance(path, (str, os.PathLike)) or not path:
        return
    local = os.path.expanduser(path)
    if os.path.exists(local) and not os.path.isfile(local):
        raise ConfigError(
            f'`{path}` of `{option}` is no plain file; set `{option}` to a '
            'checkpoint'
        )


def _downloads(cfg: Config, dataset: dict[str, Any]) -> bool:
    """Whether a dataset fetches its files into a missing folder itself."""
    if 'download' in dataset:
        return dataset['download']
    cls = find_type(DATASETS, dataset.get('type'), cfg.get('default_scope'))
    if cls is None:
        return False
    download = inspect.signature(cls).parameters.get('download')
    return download is not None and download.default is True
