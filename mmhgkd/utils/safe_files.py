"""Reading checkpoints and pickles of unknown origin without running code."""

import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local

from .errors import ConfigError
from .safe_handlers import NUMPY, safe_data_files
from .stored_config import parse_config

_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
# By-products of training, apart from tensors, in the checkpoints of MMEngine
# (logs), facebookresearch/mae, unilm and timm (command line).
_BY_PRODUCTS = (
    'argparse.Namespace',
    'builtins.getattr',
    'mmengine.logging.history_buffer.HistoryBuffer',
    'numpy.dtype',
    'numpy.ndarray',
    *(f'numpy.core.multiarray.{name}' for name in NUMPY),
    *(f'numpy._core.multiarray.{name}' for name in NUMPY),
)


class _Discarded:
    """Stands in for every object of a checkpoint that is no tensor.

    So nothing but PyTorch's own tensor code runs while a file is read.
    """

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_checkpoint(path: str | Path, option: str = 'checkpoint') -> Any:
    """Read a file of PyTorch or safetensors; weights are mapped.

    Every object that is neither a tensor nor a plain container is replaced;
    error messages name the ``option``.

    Raises:
        ImportError: If it needs safetensors, which is not installed.
        ConfigError: If the file cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # A pipe would wait for ever.
        raise ConfigError(
            f'{path}: is no plain file; set `{option}` to a checkpoint'
        )
    try:
        if path.suffix == '.safetensors':
            return _read_safetensors(path)
        # Of two objects that are allowed under one name PyTorch takes any.
        with _only_safe_globals((_Discarded, name) for name in _BY_PRODUCTS):
            return torch.load(
                path,
                map_location='cpu',
                weights_only=True,
                mmap=zipfile.is_zipfile(path),
            )
    except ImportError:
        raise
    except Exception as error:  # a damaged file can cause any
        foreign = re.search(r'GLOBAL ([\w.]+)', str(error))
        if foreign is not None:
            raise ConfigError(
                f'{path}: holds the Python object {foreign[1]}, which is not '
                f'loaded because it can run code; set `{option}` to a file '
                'of tensors alone, such as safetensors'
            ) from error
        raise ConfigError(
            f'{path}: cannot be read as a checkpoint of PyTorch or '
            'safetensors, it is truncated or another kind of file; download '
            f'it again, or set `{option}` to another file'
        ) from error


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            f'{path}: reading it needs safetensors, which comes with timm: '
            'pip install "mmhgkd[timm]"'
        ) from error
    return load_file(path)


@contextmanager
def safe_loading() -> Iterator[None]:
    """Let nothing in this process run code from a file that it loads.

    ``torch.load`` is bound to ``weights_only=True``, which MMEngine gives up
    as soon as a file asks for more; pickles and YAML files of data sets give
    plain Python and NumPy objects only; and the config in a checkpoint, which
    MMEngine runs when it resumes one, is parsed. All of it is as before at
    the end.
    """
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in '?bhilqBHILQefdSU'}
    allowed = [
        slice,
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *kinds,
        (_statistic, 'builtins.getattr'),
        *(getattr(multiarray, name) for name in NUMPY),
        *torch.serialization.get_safe_globals(),
    ]
    schemes = CheckpointLoader._schemes.copy()
    from_string = Config.fromstring
    switch = os.environ.get(_SWITCH)
    with _only_safe_globals(allowed), safe_data_files():
        try:
            CheckpointLoader._schemes = type(schemes)(
                (prefix, _explaining(load) if prefix else _load_from_local)
                for prefix, load in schemes.items()
            )
            Config.fromstring = staticmethod(_parse)
            os.environ[_SWITCH] = '1'
            yield
        finally:
            CheckpointLoader._schemes = schemes
            Config.fromstring = staticmethod(from_string)
            os.environ.pop(_SWITCH, None)
            if switch is not None:
                os.environ[_SWITCH] = switch


@contextmanager
def _only_safe_globals(allowed: Any) -> Iterator[None]:
    """Let ``torch.load`` know these objects, and then those of before."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(allowed))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _statistic(owner: Any, name: str) -> Any:
    """What the log of a checkpoint needs of ``getattr``: its statistics."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'{owner}.{name} is not loaded')


def _load_from_local(filename: str, map_location: Any) -> Any:
    """Load a local checkpoint for MMEngine, or say why not."""
    path = os.path.expanduser(filename)
    if not os.path.isfile(path):
        return load_from_local(filename, map_location)
    if path.endswith('.safetensors'):
        # Which PyTorch itself reads in recent versions only.
        return read_checkpoint(path)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise _refusal(filename) from error


def _explaining(load: Callable) -> Callable:
    """One of MMEngine's functions that download a checkpoint, with words."""
    if hasattr(load, '__wrapped__'):  # of a context around this one
        return load

    @wraps(load)
    def load_or_explain(filename: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return load(filename, *args, **kwargs)
        except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
            raise _refusal(filename) from error
        except KeyError as error:
            raise ConfigError(
                f'there is no model {error} that `{filename}` could name; '
                'name a file or a URL'
            ) from error
        except (OSError, ImportError) as error:
            raise ConfigError(
                f'cannot download the checkpoint `{filename}` ({error}); '
                'download it in another way, and name the file'
            ) from error

    return load_or_explain


def _refusal(filename: str) -> ConfigError:
    # PyTorch's own words tell how to load such a file all the same.
    return ConfigError(
        f'cannot read the checkpoint `{filename}`: it is damaged, or it '
        'holds Python objects, which are not loaded because they can run '
        'code; take a file of tensors alone'
    )


def _parse(text: str, file_format: str) -> Config:
    """The config that a checkpoint holds, in place of MMEngine's reading."""
    if file_format != '.py':
        raise ConfigError(f'a config of the kind {file_format} is not read')
    return Config(parse_config(text, 'a stored config'))
