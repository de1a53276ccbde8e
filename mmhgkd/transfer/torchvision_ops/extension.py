"""What is imported as ``mmcv._ext`` where no compiled one exists.

Names, arguments and the outputs that are written in place are those of MMCV's
extension.
"""

from collections.abc import Callable
from inspect import isfunction
from typing import Any, NoReturn

from mmhgkd.transfer.torchvision_ops import (
    attention,
    boxes,
    deform_conv,
    focal_loss,
)
from mmhgkd.transfer.torchvision_ops.provider import MissingOperatorError


def get_compiler_version() -> str:
    """For the report of the environment at the start of a run."""
    return 'not compiled (torchvision operators of mmhgkd)'


def get_compiling_cuda_version() -> str:
    """For the report of the environment at the start of a run."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., Any]:
    """An operator. One that is missing is there for imports, too."""
    if name.startswith('_'):
        raise AttributeError(name)
    for module in (attention, boxes, deform_conv, focal_loss):
        found = getattr(module, name, None)
        # Not what the module imports itself.
        if isfunction(found) and found.__module__ == module.__name__:
            return found

    def missing(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOperatorError(name)

    return missing
