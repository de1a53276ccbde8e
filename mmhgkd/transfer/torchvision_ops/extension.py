"""What is imported as ``mmcv._ext`` where no compiled one exists.

Names, arguments and the outputs that are written in place are those of MMCV's
extension.
"""

from collections.abc import Callable
from typing import NoReturn

from mmhgkd.transfer import MissingOperatorError
from mmhgkd.transfer.torchvision_ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
)
from mmhgkd.transfer.torchvision_ops.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from mmhgkd.transfer.torchvision_ops.modulated_deform_conv import (
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from mmhgkd.transfer.torchvision_ops.nms import nms, nms_match
from mmhgkd.transfer.torchvision_ops.roi_align import (
    roi_align_backward,
    roi_align_forward,
)
from mmhgkd.transfer.torchvision_ops.soft_nms import softnms

__all__ = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'nms',
    'nms_match',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]


def get_compiler_version() -> str:
    """For the report of the environment at the start of a run."""
    return 'not compiled (torchvision operators of mmhgkd)'


def get_compiling_cuda_version() -> str:
    """For the report of the environment at the start of a run."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Any other operator: there for imports, an error when called."""
    if name.startswith('_'):
        raise AttributeError(name)

    def missing(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOperatorError(name)

    return missing
