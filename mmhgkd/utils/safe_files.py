"""Reading checkpoints and pickles of unknown origin without running code."""

import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import PickleHandler
from mmengine.fileio.handlers import file_handlers
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local

from .errors import ConfigError

_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_BUILTINS = ('set', 'frozenset', 'slice', 'range', 'complex', 'bytearray')
# What the checkpoints of MMEngine hold apart from tensors and plain Python:
# the log, and metrics and meta information as NumPy numbers.
_NUMPY = ('_reconstruct', 'scalar')
_PLAIN = {
    'builtins': _BUILTINS,
    '__builtin__': (*_BUILTINS, 'xrange'),
    'collections': ('OrderedDict',),
    '_codecs': ('encode',),
    'numpy': ('ndarray', 'dtype'),
    'numpy.core.multiarray': _NUMPY,
}
# By-products of training, apart from tensors, in the checkpoints of MMEngine
# (logs), facebookresearch/mae, unilm and timm (command line).
_BY_PRODUCTS = (
    'argparse.Namespace',
    'builtins.getattr',
    'mmengine.logging.history_buffer.HistoryBuffer',
    'numpy.dtype',
    'numpy.ndarray',
    *(f'numpy.core.multiarray.{name}' for name in _NUMPY),
    *(f'numpy._core.multiarray.{name}' for name in _NUMPY),
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
                'loaded because it can run code; if you trust the file, save '
                f'its weights alone to a new one, and set `{option}` to that'
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
    as soon as a file asks for more, and ``.pkl`` files of data sets are read
    by an unpickler that knows plain Python and NumPy objects only. All of it
    is as before at the end.
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
        *(getattr(multiarray, name) for name in _NUMPY),
        *torch.serialization.get_safe_globals(),
    ]
    handlers = {name: file_handlers[name] for name in ('pkl', 'pickle')}
    schemes = CheckpointLoader._schemes.copy()
    switch = os.environ.get(_SWITCH)
    with _only_safe_globals(allowed):
        try:
            file_handlers.update(dict.fromkeys(handlers, _PICKLES))
            CheckpointLoader.register_scheme('', _load_from_local, force=True)
            os.environ[_SWITCH] = '1'
            yield
        finally:
            file_handlers.update(handlers)
            CheckpointLoader._schemes = schemes
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
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ConfigError(
            f'cannot read the checkpoint `{filename}`: it is damaged, or it '
            'holds Python objects, which are not loaded because they can run '
            'code; if you trust the file, save its state dict alone to a new '
            'one'
        ) from error


class _PlainPickleHandler(PickleHandler):
    """Reads pickle files that hold plain Python and NumPy objects."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Load from an open file; a ConfigError if it holds anything else."""
        return _Unpickler(file, **kwargs).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _PLAIN.get(module.replace('_core', 'core'), ()):
            return super().find_class(module, name)
        raise ConfigError(
            f'a pickle file holds the Python object {module}.{name}, which '
            'is not loaded because it can run code; store the data as JSON'
        )


_PICKLES = _PlainPickleHandler()
