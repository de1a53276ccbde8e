"""Data files of MMEngine that can hold Python objects, read as plain data."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from mmengine.fileio import PickleHandler, YamlHandler
from mmengine.fileio.handlers import file_handlers

from .errors import ConfigError

_BUILTINS = ('set', 'frozenset', 'slice', 'range', 'complex', 'bytearray')
#: What NumPy needs to make its arrays and numbers anew.
NUMPY = ('_reconstruct', 'scalar')
_PLAIN = {
    'builtins': _BUILTINS,
    '__builtin__': (*_BUILTINS, 'xrange'),
    'collections': ('OrderedDict',),
    '_codecs': ('encode',),
    'numpy': ('ndarray', 'dtype'),
    'numpy.core.multiarray': NUMPY,
}


@contextmanager
def safe_data_files() -> Iterator[None]:
    """Let pickles and YAML files give plain data, or a ConfigError."""
    handlers = {name: file_handlers[name] for name in _HANDLERS}
    try:
        file_handlers.update(_HANDLERS)
        yield
    finally:
        file_handlers.update(handlers)


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


class _PlainYamlHandler(YamlHandler):
    """Reads YAML files; MMEngine's own loader makes any Python object."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Load from an open file; a ConfigError if it is no plain data."""
        try:
            return yaml.load(file, **{**kwargs, 'Loader': _PlainLoader})
        except yaml.constructor.ConstructorError as error:
            raise ConfigError(
                f'a YAML file holds more than plain data ({error.problem}), '
                'which is not loaded because it can run code; write values '
                'without tags'
            ) from error


class _PlainLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader, and tuples, which MMEngine writes."""


def _tuple(loader: Any, node: yaml.SequenceNode) -> tuple:
    return tuple(loader.construct_sequence(node, deep=True))


_PlainLoader.add_constructor('tag:yaml.org,2002:python/tuple', _tuple)
_PICKLES, _YAML = _PlainPickleHandler(), _PlainYamlHandler()
_HANDLERS = {
    'pkl': _PICKLES,
    'pickle': _PICKLES,
    'yaml': _YAML,
    'yml': _YAML,
}
