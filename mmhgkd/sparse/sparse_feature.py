from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.masks import UnitMask

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish)


class SparseFeature(ABC):
    """A feature map that exists at the visible positions only.

    A layer is applied with :meth:`apply`. Its output exists where the
    downsampled mask is visible, so the visible region never grows, and a
    masked input position counts as zero (SparK, section 3.2). The mask
    travels with the feature: there is no global state.

    The subclasses are the backends of the sparse student. They hold the same
    numbers in different forms.

    Args:
        mask (UnitMask): Which units are visible.
        stride (int): Pixels between two positions.
    """

    def __init__(self, mask: UnitMask, stride: int) -> None:
        self.mask = mask
        self.stride = stride

    @classmethod
    @abstractmethod
    def from_images(cls, images: Tensor, mask: UnitMask) -> 'SparseFeature':
        """Hide the masked units of ``(B, 3, H, W)`` images."""

    @abstractmethod
    def rows(self) -> Tensor:
        """Visible values in packed row order (image, unit, y, x).

        Returns:
            Tensor: ``(B * K * block * block, C)``.
        """

    @abstractmethod
    def conv(self, module: nn.Conv2d) -> 'SparseFeature':
        """Convolve; the weights are those of the dense layer."""

    @abstractmethod
    def norm(self, module: _BatchNorm) -> 'SparseFeature':
        """Normalise with the statistics of the visible positions."""

    @abstractmethod
    def max_pool(self, module: nn.MaxPool2d) -> 'SparseFeature':
        """Take the maximum; a masked position counts as zero."""

    @abstractmethod
    def map(self, function: Callable[[Tensor], Tensor]) -> 'SparseFeature':
        """Apply an elementwise function to the visible values."""

    @abstractmethod
    def add(self, other: 'SparseFeature') -> 'SparseFeature':
        """Add a feature of the same mask, stride and width."""

    @abstractmethod
    def scale_images(self, factor: Tensor) -> 'SparseFeature':
        """Multiply every image by its own factor, ``(B, )``."""

    def apply(self, module: nn.Module) -> 'SparseFeature':
        """Apply a dense layer sparsely.

        Raises:
            TypeError: If the layer has no sparse form.
        """
        if isinstance(module, nn.Conv2d):
            return self.conv(module)
        if isinstance(module, _BatchNorm):
            return self.norm(module)
        if isinstance(module, ACTIVATIONS):
            return self.map(module)
        if isinstance(module, nn.MaxPool2d):
            return self.max_pool(module)
        if isinstance(module, nn.Identity):
            return self
        if isinstance(module, DropPath):
            return self._drop_path(module)
        if isinstance(module, nn.Sequential):
            feature: SparseFeature = self
            for child in module:
                feature = feature.apply(child)
            return feature
        raise TypeError(
            f'{type(module).__name__} has no sparse form; the student must '
            'consist of convolutions, batch norms, activations and max '
            'pooling')

    def image_mean(self) -> Tensor:
        """Mean over the visible positions of each image, ``(B, C)``."""
        rows = self.rows()
        return rows.view(self.mask.ids.size(0), -1, rows.size(1)).mean(1)

    def dense(self, fill: Tensor | None = None) -> Tensor:
        """Put the values back on the grid.

        Args:
            fill (Tensor, optional): Value of the masked positions, ``(C, )``.
                Defaults to None, which means zero.

        Returns:
            Tensor: ``(B, C, H / stride, W / stride)``, channels last in
            memory.
        """
        return rows_to_dense(self.rows(), self.mask, self.stride, fill)

    def _drop_path(self, module: DropPath) -> 'SparseFeature':
        if not module.training or module.drop_prob == 0:
            return self
        keep = 1 - module.drop_prob
        ids = self.mask.ids
        kept = torch.rand(ids.size(0), device=ids.device) < keep
        return self.scale_images(kept / keep)


def rows_to_dense(rows: Tensor,
                  mask: UnitMask,
                  stride: int,
                  fill: Tensor | None = None) -> Tensor:
    """Put packed rows on the grid, see :meth:`SparseFeature.dense`."""
    batch, channels = mask.ids.size(0), rows.size(1)
    block = mask.block(stride)
    height, width = mask.rows * block, mask.columns * block
    shape = (batch, height * width, channels)
    base = rows.new_zeros(()) if fill is None else fill.to(rows.dtype)
    index = mask.positions(stride)[..., None].expand(-1, -1, channels)
    values = rows.view(batch, -1, channels)
    dense = torch.scatter(base.expand(shape), 1, index, values)
    return dense.view(batch, height, width, channels).permute(0, 3, 1, 2)


def dense_to_rows(dense: Tensor, mask: UnitMask, stride: int) -> Tensor:
    """Take the visible positions of ``(B, C, H, W)`` as packed rows."""
    flat = dense.flatten(2).transpose(1, 2)
    index = mask.positions(stride)[..., None].expand(-1, -1, flat.size(2))
    return flat.gather(1, index).flatten(0, 1)
