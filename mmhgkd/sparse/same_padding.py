import torch.nn.functional as F
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from timm.layers import Conv2dSame
from torch import Tensor, nn

from .window import Window


def window_and_weight(module: nn.Conv2d) -> tuple[Window, Tensor]:
    """Window and weight of a convolution, with its padding resolved.

    TensorFlow's padding "same" adds one row and column more behind the map
    than before it where the stride is even. Zero taps in front of the weight
    make that symmetric. Maps are whole multiples of the stride here, so the
    padding does not depend on their size.

    Args:
        module (nn.Conv2d): A convolution.

    Returns:
        tuple[Window, Tensor]: The window and the weight
        ``(C_out, C_in / groups, *window.kernel)``.
    """
    if not isinstance(module, (Conv2dAdaptivePadding, Conv2dSame)):
        return Window.of(module), module.weight
    padding, extra = [], []
    for size, stride, dilation in zip(
        module.kernel_size, module.stride, module.dilation, strict=True
    ):
        total = max((size - 1) * dilation + 1 - stride, 0)
        before, after = total // 2, total - total // 2
        if (after - before) % dilation or stride != module.stride[0]:
            raise ValueError(
                f'{module} has no sparse form: padding "same" that is not '
                'symmetric goes with equal strides and no dilation only'
            )
        padding.append(after)
        extra.append((after - before) // dilation)
    weight = F.pad(module.weight, (extra[1], 0, extra[0], 0))
    window = Window(
        (weight.size(2), weight.size(3)),
        module.stride[0],
        (padding[0], padding[1]),
        (module.dilation[0], module.dilation[1]),
    )
    return window, weight
