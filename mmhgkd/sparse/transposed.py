"""Transposed convolutions that keep the units."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .sparse_feature import NoSparseForm, SparseFeature
from .window import ConvCall

__all__ = ['transposed_conv']


def transposed_conv(feature: SparseFeature, module: Any) -> SparseFeature:
    """Apply a transposed convolution to a sparse feature.

    Every output position reads inputs near its own, and which taps it reads
    depends on its place within a step of the stride. So one convolution
    computes the outputs of all places as channels, which are then put beside
    each other.

    Args:
        feature (SparseFeature): The feature.
        module (nn.ConvTranspose2d): The layer, which multiplies the size of
            a map by its stride.

    Returns:
        SparseFeature: Of ``stride`` times as many positions along an axis.

    Raises:
        NoSparseForm: If the layer makes a map of another size.
    """
    step = module.stride[0]
    whole = module.stride == (step, step) and module.dilation == (1, 1)
    for size, padding, extra in zip(
        module.kernel_size,
        module.padding,
        module.output_padding,
        strict=True,
    ):
        whole = whole and size + extra - 2 * padding == step
    if not whole or feature.stride % step:
        raise NoSparseForm(
            f'{module} has no sparse form: only one that multiplies the size '
            'of a map by its stride has'
        )
    weight = _phases(module)
    bias = module.bias
    if bias is not None:
        bias = bias.repeat_interleave(step * step)
    padding = (weight.size(2) // 2, weight.size(3) // 2)
    conv: Any = ConvCall(weight, bias, 1, padding, 1, module.groups)
    rows = feature.conv(conv).rows()
    block = feature.mask.block(feature.stride)
    grid = rows.unflatten(0, (-1, block, block))
    grid = grid.unflatten(-1, (-1, step, step)).permute(0, 1, 4, 2, 5, 3)
    return feature.with_rows(grid.flatten(0, 4), feature.stride // step)


def _phases(module: Any) -> Tensor:
    """Weight of a convolution whose channels are places of a step.

    Returns:
        Tensor: ``(C_out * stride * stride, C_in / groups, kh, kw)``.
    """
    groups, step = module.groups, module.stride[0]
    rows, columns = (
        _taps(size, padding, step, module.weight.device)
        for size, padding in zip(
            module.kernel_size, module.padding, strict=True
        )
    )
    # Where there is no tap, the last one is read, which is zero.
    weight = F.pad(module.weight, (0, 1, 0, 1))
    weight = weight[:, :, rows[:, None, :, None], columns[None, :, None]]
    weight = weight.unflatten(0, (groups, -1)).permute(0, 2, 3, 4, 1, 5, 6)
    return weight.flatten(0, 3)


def _taps(size: int, padding: int, step: int, device: torch.device) -> Tensor:
    """Tap by which each place of a step reads each neighbor.

    Args:
        size (int): Taps of the transposed convolution.
        padding (int): Its padding.
        step (int): Its stride.
        device (torch.device): Where the result is.

    Returns:
        Tensor: ``(step, neighbors)`` int64, ``size`` where there is none.
    """
    after, before = (step - 1 + padding) // step, (size - 1 - padding) // step
    reach = max(after, before)
    neighbors = torch.arange(-reach, reach + 1, device=device)
    places = torch.arange(step, device=device)[:, None]
    taps = places + padding - step * neighbors
    return taps.masked_fill((taps < 0) | (taps >= size), size)
