import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.fileio import PickleHandler, register_handler
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local

from mmhgkd.utils import ConfigError

_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
# What the checkpoints of MMEngine hold apart from tensors and plain Python:
# the log, and metrics and meta information as NumPy numbers.
_NUMPY = ('_reconstruct', 'scalar')
_PLAIN = {
    'builtins': ('set', 'frozenset', 'slice', 'range', 'complex', 'bytearray'),
    '__builtin__': (
        'set',
        'frozenset',
        'slice',
        'xrange',
        'complex',
        'bytearray',
    ),
    'collections': ('OrderedDict',),
    '_codecs': ('encode',),
    'numpy': ('ndarray', 'dtype'),
    'numpy.core.multiarray': _NUMPY,
}


@contextmanager
def safe_loading() -> Iterator[None]:
    """Let nothing in this process run code from a file that it loads.

    ``torch.load`` is bound to ``weights_only=True``, which MMEngine gives up
    as soon as a file asks for more, and ``.pkl`` files of data sets are read
    by an unpickler that knows plain Python and NumPy objects only.
    """
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in '?bhilqBHILQefdSU'}
    torch.serialization.add_safe_globals(
        [
            slice,
            HistoryBuffer,
            np.ndarray,
            np.dtype,
            *kinds,
            (_statistic, 'builtins.getattr'),
            *(getattr(multiarray, name) for name in _NUMPY),
        ]
    )
    CheckpointLoader.register_scheme(
        prefixes='', loader=_load_from_local, force=True
    )
    register_handler(['pkl', 'pickle'])(SafePickleHandler)
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = '1'
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = before


def _statistic(owner: Any, name: str) -> Any:
    """What the log of a checkpoint needs of ``getattr``: its statistics.

    Raises:
        UnpicklingError: If anything else is asked for.
    """
    if owner is not HistoryBuffer or name not in (
        'min',
        'max',
        'current',
        'mean',
    ):
        raise pickle.UnpicklingError(f'{owner}.{name} is not loaded')
    return getattr(owner, name)


def _load_from_local(filename: str, map_location: Any) -> Any:
    """Load a local checkpoint, or say why not.

    Raises:
        ConfigError: If the file cannot be read without running code.
    """
    if not os.path.isfile(os.path.expanduser(filename)):
        return load_from_local(filename, map_location)
    try:
        return torch.load(
            os.path.expanduser(filename),
            map_location=map_location,
            weights_only=True,
        )
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ConfigError(
            f'cannot read the checkpoint `{filename}`: it is damaged, or it '
            'holds Python objects, which are not loaded because they can run '
            'code; if you trust the file, save its state dict alone to a new '
            'one'
        ) from error


class SafePickleHandler(PickleHandler):
    """Reads pickle files that hold plain Python and NumPy objects."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Load from an open file.

        Raises:
            ConfigError: If the file holds anything else.
        """
        return _Unpickler(file, **kwargs).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _PLAIN.get(module.replace('_core', 'core'), ()):
            return super().find_class(module, name)
        raise ConfigError(
            f'a pickle file holds the Python object {module}.{name}, which '
            'is not loaded because it can run code; store the data as JSON'
        )
