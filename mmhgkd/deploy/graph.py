import copy
from abc import abstractmethod
from typing import Any

import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmengine.model import revert_sync_batchnorm
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from mmhgkd.transfer.converters.preprocessing import takes_flipped
from mmhgkd.utils import ConfigError

from .adaptive_pool import replace_adaptive_pools


class Graph(nn.Module):
    """A whole model as a graph: photos in, results out.

    Photos are RGB, ``(B, 3, H, W)`` uint8, or have ``bands``. They are
    normalized, and padded where the model pads, in the graph.

    Args:
        model (BaseModel): The model, of which a copy is taken.
        bands (int, optional): Channels in the order of the files.
            Defaults to None, which means red, green and blue.

    Attributes:
        task (str): What it does.
        names (tuple[str]): Names of the outputs, in order.
        axes (dict[str, dict[int, str]]): Their sides that are not fixed.
        least_opset (int): Oldest version of ONNX's operators that works.
    """

    task: str
    names: tuple[str, ...]
    axes: dict[str, dict[int, str]]
    least_opset = 11
    model: Any
    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, bands: int | None = None) -> None:
        super().__init__()
        self.model = revert_sync_batchnorm(copy.deepcopy(model))
        _fix_padding(self.model)
        replace_adaptive_pools(self.model)
        part = self.model.data_preprocessor
        self.flip = takes_flipped(self.model, bands is not None)
        self.normalizes = bool(getattr(part, '_enable_normalize', False))
        if self.normalizes:
            self.register_buffer(
                'mean', part.mean.clone().reshape(1, -1, 1, 1)
            )
            self.register_buffer('std', part.std.clone().reshape(1, -1, 1, 1))
        self.bands = bands
        self.channels = 3 if bands is None else bands
        if self.normalizes and self.mean.size(1) not in (1, self.channels):
            raise refuse(
                'model.data_preprocessor',
                part,
                f'of {self.mean.size(1)} channels, and the images have '
                f'{self.channels}, as `bands` of LoadImage does not say more',
            )
        self.divisor = self._divisor(part)
        self.train(False)

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the order of ``names``."""

    def describe(self) -> dict[str, str]:
        """What each output is, by its name."""
        raise NotImplementedError

    def settings(self) -> dict[str, str]:
        """Further entries for the metadata of a file."""
        return {}

    def prepare(self, images: Tensor) -> Tensor:
        """Photos as the network wants them, ``(B, C, h, w)`` float."""
        x = images.float()
        if self.flip:
            x = x.flip(1)
        if self.normalizes:
            x = (x - self.mean) / self.std
        if self.divisor > 1:
            below, right = (-side % self.divisor for side in x.shape[2:])
            x = F.pad(x, (0, right, 0, below), value=self.pad_value)
        return x

    def _divisor(self, part: nn.Module) -> int:
        self.pad_value = float(getattr(part, 'pad_value', 0) or 0)
        return int(getattr(part, 'pad_size_divisor', 1) or 1)


def refuse(part: str, found: object, reason: str) -> ConfigError:
    """Error for a part of a model that no graph can hold."""
    kind = found if isinstance(found, str) else type(found).__name__
    return ConfigError(
        f'`{part}` is {kind}, {reason}; nothing is written. Give a model '
        'without it, or export the backbone alone with `--no-head`'
    )


def _fix_padding(model: nn.Module) -> None:
    """Replace the padding "same", which a recorded graph cannot compute.

    Where the size is a multiple of the stride it does not depend on it.
    """
    for layer in model.modules():
        if isinstance(layer, (Conv2dAdaptivePadding, Conv2dSame)):
            layer.__class__ = nn.Conv2d
            layer.padding = (0, 0)
            layer.register_forward_pre_hook(_pad)


def _pad(layer: Any, inputs: tuple[Tensor]) -> Tensor:
    sides: list[int] = []
    for axis in (1, 0):  # columns first
        span = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        total = max(span - layer.stride[axis], 0)
        sides += (total // 2, total - total // 2)
    return F.pad(inputs[0], sides)


def no_gradients(graph: Graph, images: Tensor) -> tuple[Tensor, ...]:
    """Run a graph in PyTorch."""
    with torch.no_grad():
        return graph(images)
