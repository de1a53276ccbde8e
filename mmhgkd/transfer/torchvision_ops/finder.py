import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

NAME = 'mmcv._ext'


class OperatorFinder:
    """An importer of ``mmcv._ext`` for where there is none.

    It stands last in ``sys.meta_path``, so compiled operators are always
    found before it, and broken ones fail as they do without this project.
    """

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if name != NAME:
            return None
        return spec_from_file_location(
            name, Path(__file__).with_name('extension.py')
        )


def install_operators() -> None:
    """Provide ``mmcv._ext`` where it is missing; nothing is imported yet."""
    if OperatorFinder not in sys.meta_path:
        sys.meta_path.append(OperatorFinder)
