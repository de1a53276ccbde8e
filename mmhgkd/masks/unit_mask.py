from typing import NamedTuple

import torch
from torch import Tensor

from mmhgkd.utils import ConfigError


class UnitMask(NamedTuple):
    """Which units of each image a sparse student sees.

    The image is cut into ``rows x columns`` squares of ``unit`` pixels (the
    total stride of the student, H-GKD section "sparse student"; SparK masks
    in the same way). Every image of a batch keeps the same number ``K`` of
    units, so that all shapes that follow from a mask are static.

    Args:
        ids (Tensor): Visible units, row-major, ascending, ``(B, K)`` int64.
        rows (int): Units along the height.
        columns (int): Units along the width.
        unit (int): Side of a unit in pixels.
    """

    ids: Tensor
    rows: int
    columns: int
    unit: int

    @property
    def num_units(self) -> int:
        """Units of one image, visible and masked."""
        return self.rows * self.columns

    @property
    def num_visible(self) -> int:
        """Visible units of one image, ``K``."""
        return self.ids.size(1)

    def block(self, stride: int) -> int:
        """Positions along the side of a unit on a map of ``stride`` pixels.

        Raises:
            ConfigError: If a unit is no whole number of positions.
        """
        if self.unit % stride:
            raise ConfigError(
                f'a mask unit of {self.unit} px is no whole number of '
                f'positions on a feature map of stride {stride}; use a mask '
                f'unit that is a multiple of {stride}'
            )
        return self.unit // stride

    def visible(self, stride: int) -> Tensor:
        """Visible positions of the map of ``stride`` pixels.

        Args:
            stride (int): Pixels between two positions; divides ``unit``.

        Returns:
            Tensor: ``(B, 1, H / stride, W / stride)`` bool, true = visible.
        """
        block = self.block(stride)
        shape = (self.ids.size(0), self.num_units)
        units = self.ids.new_zeros(shape, dtype=torch.bool)
        units.scatter_(1, self.ids, True)
        grid = units.view(-1, 1, self.rows, self.columns)
        return grid.repeat_interleave(block, dim=2).repeat_interleave(
            block, dim=3
        )

    def positions(self, stride: int) -> Tensor:
        """Flat index of every visible position, in packed row order.

        Packed row order is (image, unit, y, x): the rows of an image are
        those of its units in the order of ``ids``, and a unit is row-major.

        Args:
            stride (int): Pixels between two positions; divides ``unit``.

        Returns:
            Tensor: ``(B, K * block * block)`` int64, each an index into the
            row-major ``H / stride * W / stride`` positions of its image.
        """
        block = self.block(stride)
        device = self.ids.device
        within = torch.arange(block, device=device)
        row = (
            torch.div(self.ids, self.columns, rounding_mode='floor')[..., None]
            * block
        )
        column = (self.ids % self.columns)[..., None] * block
        y = (row + within)[..., :, None]
        x = (column + within)[..., None, :]
        return (y * (self.columns * block) + x).flatten(1)
