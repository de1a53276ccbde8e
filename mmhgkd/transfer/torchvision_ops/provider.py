import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mmhgkd.utils import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

NAME = 'mmcv._ext'


class MissingOperatorError(ConfigError, NotImplementedError):
    """A model calls an operator that needs MMCV's compiled extension."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'the operator `{name}` of MMCV is not among those that mmhgkd '
            'provides on torchvision; install MMCV with its compiled '
            'operators (`mmcv._ext`), or choose a model without this one'
        )


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


def at_least_single(*tensors: 'Tensor') -> 'tuple[Tensor, ...]':
    """Half precision tensors as fp32, all others as they are.

    torchvision lacks half precision in some operators on some devices.
    """
    # This module is imported with the package, which has to be quick.
    import torch

    return tuple(
        tensor.float()
        if tensor.dtype in (torch.float16, torch.bfloat16)
        else tensor
        for tensor in tensors
    )
