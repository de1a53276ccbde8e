from typing import NamedTuple

import torch
from torch import Tensor

from mmhgkd.masks import UnitMask


class SparseFeature(NamedTuple):
    """A feature map that exists at the visible positions only.

    Args:
        values (Tensor): Features of the visible positions, in packed row
            order (image, unit, y, x), ``(B * K * block * block, C)``.
        mask (UnitMask): Which units are visible.
        stride (int): Pixels between two positions.
    """

    values: Tensor
    mask: UnitMask
    stride: int

    @classmethod
    def pack(cls, dense: Tensor, mask: UnitMask,
             stride: int) -> 'SparseFeature':
        """Take the visible positions out of ``(B, C, H, W)``."""
        rows = dense.flatten(2).transpose(1, 2)
        index = mask.positions(stride)[..., None].expand(-1, -1, rows.size(2))
        return cls(rows.gather(1, index).flatten(0, 1), mask, stride)

    def dense(self, fill: Tensor | None = None) -> Tensor:
        """Put the values back on the grid.

        Args:
            fill (Tensor, optional): Value of the masked positions, ``(C, )``.
                Defaults to None, which means zero.

        Returns:
            Tensor: ``(B, C, H / stride, W / stride)``, channels last in
            memory.
        """
        mask, channels = self.mask, self.values.size(1)
        batch = mask.ids.size(0)
        block = mask.block(self.stride)
        height, width = mask.rows * block, mask.columns * block
        shape = (batch, height * width, channels)
        if fill is None:
            base = self.values.new_zeros(shape)
        else:
            base = fill.to(self.values.dtype).expand(shape)
        index = mask.positions(self.stride)[..., None].expand(
            -1, -1, channels)
        rows = torch.scatter(base, 1, index, self.values.view(
            batch, -1, channels))
        return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def image_mean(self) -> Tensor:
        """Mean over the visible positions of each image, ``(B, C)``."""
        batch = self.mask.ids.size(0)
        return self.values.view(batch, -1, self.values.size(1)).mean(1)
