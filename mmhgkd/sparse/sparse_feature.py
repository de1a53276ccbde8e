from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Self

from mmhgkd.masks import UnitMask

from .rows import rows_to_dense


class NoSparseForm(TypeError):
    """A layer or an operation that sparse features do not have."""


class SparseFeature(ABC):
    """A feature map that exists at the visible positions only.

    A layer is applied with :func:`mmhgkd.sparse.layers.apply_layer`. Its
    output exists where the downsampled mask is visible, so the visible region
    never grows, and a masked input position counts as zero (SparK, section
    3.2). The mask travels with the feature: there is no global state.

    The subclasses are the backends of the sparse student. They hold the same
    numbers in different forms.

    Args:
        values (Tensor): The values; channels are axis 1.
        mask (UnitMask): Which units are visible.
        stride (int): Pixels between two positions.
    """

    def __init__(self, values: Tensor, mask: UnitMask, stride: int) -> None:
        self.values = values
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
    def scale_images(
        self,
        factor: Tensor,
        residual: 'SparseFeature | None' = None,
        scale: float = 1.0,
    ) -> Self:
        """Multiply every image by its own factor.

        Args:
            factor (Tensor): ``(B, )`` or ``(B, C)``. One of floating point is
                not rounded to the precision of the values, which would bias
                their mean; one of truth values says which are kept.
            residual (SparseFeature, optional): Feature that is added.
                Defaults to None.
            scale (float): Factor of all images, not rounded either.
                Defaults to 1.
        """

    @abstractmethod
    def with_rows(self, rows: Tensor, stride: int | None = None) -> Self:
        """Feature of other visible values.

        Args:
            rows (Tensor): As of :meth:`rows`.
            stride (int, optional): Pixels between two of their positions.
                Defaults to None, which means those of this feature.
        """

    @abstractmethod
    def _with(self, values: Tensor) -> Self:
        """Feature of other values, with this mask and stride."""

    def concatenate(self, others: Sequence['SparseFeature']) -> Self:
        """Append the channels of features of the same mask and stride."""
        parts = [self.values, *(other.values for other in others)]
        return self._with(torch.cat(parts, 1))

    def add(self, other: 'SparseFeature') -> Self:
        """Add a feature of the same mask, stride and width."""
        return self._with(self.values + other.values)

    def fused_norm_act(
        self,
        norm: nn.Module,
        act: nn.Module,
        residual: 'SparseFeature | None' = None,
        factor: Tensor | None = None,
    ) -> 'SparseFeature | None':
        """Normalize, scale images, add a residual, activate in one step.

        See :func:`mmhgkd.sparse.layers.norm_act`.

        Returns:
            SparseFeature or None: None if it is no one step here.
        """
        return None

    def image_mean(self) -> Tensor:
        """Mean over the visible positions of each image, ``(B, C)``."""
        return self.by_image().mean(1)

    def image_norm(self) -> Tensor:
        """L2 norm over the visible positions of each image, ``(B, C)``."""
        return torch.linalg.vector_norm(self.by_image(), dim=1)

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

    def by_image(self) -> Tensor:
        """Visible values, ``(B, K * block * block, C)``."""
        rows = self.rows()
        return rows.view(self.mask.ids.size(0), -1, rows.size(1))


def scaled(
    values: Tensor, factor: Tensor, residual: Tensor | None, scale: float
) -> Tensor:
    """Values times a factor that broadcasts and a scale, plus a residual."""
    if residual is None:
        return (values * (factor * scale)).to(values.dtype)
    dtype = torch.promote_types(values.dtype, residual.dtype)
    if factor.dtype == torch.bool:
        # A factor of another precision would have all values copied to it.
        factor = factor.to(values.dtype)
    return torch.addcmul(residual, values, factor, value=scale).to(dtype)
