import logging
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: What speaks the empty words, or is imported before what does.
SPEAKERS = ('mmengine.hooks', 'mmengine.runner', 'mmpretrain')


class SilentFinder:
    """An importer that finds nothing, and acts before a speaker is there.

    It stands first in ``sys.meta_path``, and leaves it when it has acted.
    """

    @classmethod
    def find_spec(
        cls,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if name in SPEAKERS and cls in sys.meta_path:
            sys.meta_path.remove(cls)
            _leave_out()
        return None


def leave_out_empty_words() -> None:
    """Keep lines of libraries back that mean nothing to a user.

    MMPretrain prints for debugging, at its import, that it finds no package
    of its makers, and MMEngine's hooks log twice at each start that a class
    which they use themselves will be deprecated.

    MMEngine imports PyTorch, so nothing is imported yet.
    """
    if 'mmengine.logging' in sys.modules:
        _leave_out()
    elif SilentFinder not in sys.meta_path:
        sys.meta_path.insert(0, SilentFinder)


def _leave_out() -> None:
    import mmengine.logging
    from mmengine.fileio import file_client

    print_log = mmengine.logging.print_log

    def print_log_of_level(
        msg: Any, logger: Any = None, level: int = logging.INFO
    ) -> None:
        if logger is not None or level > logging.DEBUG:
            print_log(msg, logger, level)

    mmengine.logging.print_log = print_log_of_level
    file_client.print_log = lambda *args, **kwargs: None
