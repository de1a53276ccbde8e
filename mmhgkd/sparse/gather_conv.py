import torch
import torch.nn.functional as F
from torch import Tensor

from .cpu_conv import halo_conv, pair_conv
from .geometry import Geometry
from .table_conv import table_conv
from .triton import uses_triton
from .window import Window


def gather_conv(
    rows: Tensor,
    weight: Tensor,
    geometry: Geometry,
    stride: int,
    window: Window,
    groups: int = 1,
) -> Tensor:
    """Convolve packed rows; what is masked counts as zero.

    Args:
        rows (Tensor): ``(N_in, C_in)``.
        weight (Tensor): ``(C_out, C_in / groups, *window.kernel)``.
        geometry (Geometry): Tables of the mask.
        stride (int): Pixels between two input positions.
        window (Window): The window of the convolution.
        groups (int): Groups of channels. Defaults to 1.

    Returns:
        Tensor: ``(N_out, C_out)``, the positions that are visible at
        ``stride * window.stride``.
    """
    if window.is_pointwise and groups == 1:
        if window.stride > 1:
            rows = _corners(rows, geometry.mask.block(stride), window.stride)
        return F.linear(rows, weight.flatten(1))
    depthwise = groups == rows.size(1) == weight.size(0)
    triton = geometry.triton and uses_triton(rows, weight)
    if triton and (groups == 1 or depthwise):
        from .triton.stem import fits_stem, stem_conv

        if fits_stem(rows, weight, geometry, stride, window):
            return stem_conv(rows, weight, geometry, stride, window)
        return table_conv(
            rows, weight, geometry, stride, window, groups, triton=True
        )
    if uses_tables(rows):
        return table_conv(rows, weight, geometry, stride, window, groups)
    block = geometry.mask.block(stride * window.stride)
    if groups == 1 and block <= 2 * window.stride:
        return pair_conv(rows, weight, geometry, stride, window)
    return halo_conv(rows, weight, geometry, stride, window, groups)


def uses_tables(rows: Tensor) -> bool:
    """Whether only operations of static shape fit."""
    return rows.is_cuda or torch.compiler.is_compiling()


def _corners(rows: Tensor, block: int, stride: int) -> Tensor:
    """Rows of the positions whose coordinates ``stride`` divides."""
    grid = rows.view(-1, block, block, rows.size(1))
    return grid[:, ::stride, ::stride].reshape(-1, rows.size(1))
