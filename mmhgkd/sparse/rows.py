"""Packed rows: reading them by tables, and their places on the grid."""

import torch
from torch import Tensor

from mmhgkd.masks import UnitMask

__all__ = ['dense_to_rows', 'gather', 'interleave', 'rows_to_dense']


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


def gather(rows: Tensor, table: Tensor, fill: float = 0) -> Tensor:
    """Rows at ``table``; the row one past the last is ``fill``.

    Returns:
        Tensor: ``(*table.shape, C)``.
    """
    rows = torch.cat([rows, rows.new_full((1, rows.size(1)), fill)])
    return rows.index_select(0, table.flatten()).view(
        *table.shape, rows.size(1)
    )


def interleave(phases: list[Tensor], block: int, stride: int) -> Tensor:
    """Put the rows of all phases in packed order.

    Args:
        phases (list[Tensor]): Rows of each phase, ``stride * stride`` times
            ``(n, C)``.
        block (int): Positions along the side of a unit.
        stride (int): Stride of the window.

    Returns:
        Tensor: ``(stride * stride * n, C)``.
    """
    if stride == 1:
        return phases[0]
    side, channels = block // stride, phases[0].size(1)
    grid = torch.stack(phases).view(stride, stride, -1, side, side, channels)
    return grid.permute(2, 3, 0, 4, 1, 5).reshape(-1, channels)
