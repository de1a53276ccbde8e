from typing import NamedTuple

from torch import nn


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
    def of(cls, module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> 'Window':
        """Window of a dense layer.

        Raises:
            ValueError: If the layer does not divide the map by its stride,
                so that its output would not be made of whole units.
        """
        stride = _pair(module.stride)
        mode = getattr(module, 'padding_mode', 'zeros')
        if (
            isinstance(module.padding, str)
            or mode != 'zeros'
            or stride[0] != stride[1]
        ):
            raise ValueError(
                f'{module} has no packed form: it must pad with a fixed '
                'number of zeros and have the same stride along both axes'
            )
        kernel, padding = _pair(module.kernel_size), _pair(module.padding)
        dilation = _pair(getattr(module, 'dilation', 1))
        window = cls(kernel, stride[0], padding, dilation)
        for axis in range(2):
            surplus = 2 * padding[axis] - window.reach(axis) - 1
            whole = -window.stride <= surplus < 0
            if getattr(module, 'ceil_mode', False) and padding[axis]:
                whole = surplus == -window.stride
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
    def taps(self) -> int:
        """Input positions that an output reads."""
        return self.kernel[0] * self.kernel[1]

    def reach(self, axis: int) -> int:
        """Positions between the first and the last tap of an axis."""
        return self.dilation[axis] * (self.kernel[axis] - 1)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
