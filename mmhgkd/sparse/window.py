import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch.nn.functional as F
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from timm.layers import Conv2dSame
from torch import Tensor, nn


class Window(NamedTuple):
    """Sliding window of a convolution or a pooling that keeps the units.

    Sizes are in positions of the input, pairs are (height, width).

    Args:
        kernel (tuple[int, int]): Taps along each axis.
        stride (int): Positions between two outputs, the same along both axes.
        padding (tuple[int, int]): Positions outside the image.
        dilation (tuple[int, int]): Positions between two taps.
    """

    kernel: tuple[int, int]
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, module: Any) -> 'Window':
        """Window of a dense layer.

        Raises:
            ValueError: If the layer does not divide the map by its stride,
                so that its output would not be made of whole units.
        """
        stride = _pair(module.stride)
        mode = getattr(module, 'padding_mode', 'zeros')
        if mode != 'zeros' or stride[0] != stride[1]:
            raise ValueError(
                f'{module} has no packed form: it must pad with a fixed '
                'number of zeros and have the same stride along both axes'
            )
        kernel = _pair(module.kernel_size)
        dilation = _pair(getattr(module, 'dilation', 1))
        padding = _padding(module, kernel, dilation)
        left, right, top, bottom = getattr(module, 'sides', (0, 0, 0, 0))
        before = (padding[0] + top, padding[1] + left)
        after = (padding[0] + bottom, padding[1] + right)
        window = cls(kernel, stride[0], before, dilation)
        for axis in range(2):
            surplus = before[axis] + after[axis] - window.reach(axis) - 1
            whole = -window.stride <= surplus < 0
            if getattr(module, 'ceil_mode', False) and stride[0] > 1:
                # A window may overhang, but must start inside.
                whole = -2 * window.stride < surplus <= -window.stride or (
                    whole and not before[axis] + after[axis]
                )
                if isinstance(module, nn.AvgPool2d) and any(padding):
                    # Padding would count, and what is past it would not.
                    whole = whole and surplus == -window.stride
                whole = whole and not hasattr(module, 'sides')
            if not whole:
                raise ValueError(
                    f'{module} turns a map of a whole number of units into '
                    'one that is not; set its padding to half of '
                    '`dilation * (kernel_size - 1)`'
                )
        return window

    @property
    def is_pointwise(self) -> bool:
        """Whether every output reads one input position, its own."""
        return self.kernel == (1, 1) and self.padding == (0, 0)

    @property
    def axes(self) -> tuple[tuple[int, int, int], ...]:
        """Taps, padding and dilation along height and width."""
        return tuple(
            zip(self.kernel, self.padding, self.dilation, strict=True)
        )

    @property
    def reads_outside(self) -> bool:
        """Whether some output reads positions outside the image."""
        return any(self.padding) or any(
            self.reach(axis) >= self.stride for axis in range(2)
        )

    @property
    def is_square(self) -> bool:
        """Whether height and width are treated alike."""
        return self.axes[0] == self.axes[1]

    @property
    def taps(self) -> int:
        """Input positions that an output reads."""
        return self.kernel[0] * self.kernel[1]

    def reach(self, axis: int) -> int:
        """Positions between the first and the last tap of an axis."""
        return self.dilation[axis] * (self.kernel[axis] - 1)


def window_and_weight(module: Any) -> tuple[Window, Tensor]:
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


class PaddedLayer:
    """A convolution or pooling of a map with values around it.

    Args:
        layer (Any): The layer.
        sides (tuple[int, int, int, int]): Positions to the left, right, top
            and bottom.
        value (float): Their value.

    Raises:
        ValueError: If a pooling would treat them otherwise than its own
            padding.
    """

    def __init__(
        self, layer: Any, sides: tuple[int, int, int, int], value: float
    ) -> None:
        self.layer, self.sides, self.value = layer, sides, value
        self.is_conv = hasattr(layer, 'weight')
        if self.is_conv:
            fits = value == 0
        else:
            fits = not any(_pair(layer.padding)) and (
                value == 0
                or (value == -math.inf and isinstance(layer, nn.MaxPool2d))
            )
            self.count_include_pad = True
        if not fits:
            raise ValueError(
                f'{layer} of a map that is padded with {value} has no sparse '
                'form'
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the layer to a dense map, ``(B, C, H, W)``."""
        return self.layer(F.pad(x, self.sides, value=self.value))


@dataclass(frozen=True)
class ConvCall:
    """A call of ``torch.nn.functional.conv2d`` in the place of a layer."""

    weight: Tensor
    bias: Tensor | None = None
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Taps along height and width."""
        return self.weight.size(2), self.weight.size(3)

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve a dense map, ``(B, C, H, W)``."""
        return F.conv2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


def _padding(
    module: Any, kernel: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    """Positions outside the image on each side, where a word says them."""
    if not isinstance(module.padding, str):
        return _pair(module.padding)
    if module.padding == 'valid':
        return 0, 0
    rows, columns = (
        reach * (size - 1)
        for size, reach in zip(kernel, dilation, strict=True)
    )
    if rows % 2 or columns % 2:
        raise ValueError(
            f'{module} has no packed form: padding "same" of a window of an '
            'even number of taps is not symmetric'
        )
    return rows // 2, columns // 2


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
