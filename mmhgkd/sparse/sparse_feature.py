from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.masks import UnitMask

from .layers import apply_layer


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
    def check_network(cls, network: nn.Module) -> None:
        """Check that this form takes all layers of a network.

        Args:
            network (nn.Module): The dense network.

        Raises:
            ConfigError: If it does not, or a package is missing.
        """
        # Most forms take what has a sparse form at all.
        return

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
        """Normalize with the statistics of the visible positions."""

    @abstractmethod
    def max_pool(self, module: nn.MaxPool2d) -> 'SparseFeature':
        """Take the maximum; a masked position counts as zero."""

    @abstractmethod
    def avg_pool(self, module: nn.AvgPool2d) -> 'SparseFeature':
        """Take the mean; a masked position counts as zero."""

    @abstractmethod
    def map(self, function: Callable[[Tensor], Tensor]) -> 'SparseFeature':
        """Apply an elementwise function to the visible values."""

    @abstractmethod
    def map_channels(
        self, function: Callable[[Tensor], Tensor]
    ) -> 'SparseFeature':
        """Apply a function of the channels of each visible position.

        Args:
            function (Callable): Takes and returns ``(..., C)``.
        """

    @abstractmethod
    def concatenate(
        self, others: Sequence['SparseFeature']
    ) -> 'SparseFeature':
        """Append the channels of features of the same mask and stride."""

    @abstractmethod
    def add(self, other: 'SparseFeature') -> 'SparseFeature':
        """Add a feature of the same mask, stride and width."""

    @abstractmethod
    def scale_images(self, factor: Tensor) -> 'SparseFeature':
        """Multiply every image by its own factor, ``(B, )`` or ``(B, C)``."""

    def apply(self, module: nn.Module) -> 'SparseFeature':
        """Apply a dense layer sparsely.

        Raises:
            NoSparseForm: If the layer has no sparse form.
        """
        return apply_layer(self, module)

    def norm_act(
        self,
        norm: nn.Module,
        act: nn.Module,
        residual: 'SparseFeature | None' = None,
    ) -> 'SparseFeature':
        """Normalize, add a residual and activate: a step that may be fused.

        Args:
            norm (nn.Module): The norm layer.
            act (nn.Module): The activation.
            residual (SparseFeature, optional): Feature that is added before
                the activation. Defaults to None.
        """
        feature = self.apply(norm)
        if residual is not None:
            feature = feature.add(residual)
        return feature.apply(act)

    def image_mean(self) -> Tensor:
        """Mean over the visible positions of each image, ``(B, C)``."""
        return self._by_image().mean(1)

    def image_norm(self) -> Tensor:
        """L2 norm over the visible positions of each image, ``(B, C)``."""
        return torch.linalg.vector_norm(self._by_image(), dim=1)

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

    def _by_image(self) -> Tensor:
        """Visible values, ``(B, K * block * block, C)``."""
        rows = self.rows()
        return rows.view(self.mask.ids.size(0), -1, rows.size(1))


def rows_to_dense(
    rows: Tensor, mask: UnitMask, stride: int, fill: Tensor | None = None
) -> Tensor:
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
