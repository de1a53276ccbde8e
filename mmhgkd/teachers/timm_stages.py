"""Tokens of timm's networks in stages: Hiera and Swin."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import timm
import torch.nn.functional as F
from torch import Tensor

from mmhgkd.utils import ConfigError

STAGED = (timm.models.Hiera, timm.models.SwinTransformer)
DEFAULT_STRIDE = 16


class Stage(NamedTuple):
    """A stage whose tokens are read."""

    place: int  #: among the stages
    stride: int  #: pixels between two tokens
    width: int
    blocks: list[int]  #: those that are read, counted within the stage


def choose_stages(
    network: Any, stride: int | Sequence[int] | None, layer: Any, check: Any
) -> list[Stage]:
    """Choose the stages by the strides of their tokens.

    Args:
        network (nn.Module): A Hiera or Swin of timm.
        stride (int or Sequence[int], optional): Pixels between two tokens.
            None means 16, or that of the last stage if there is no such.
        layer (int or Sequence[int]): Blocks, counted within each stage.
        check (Callable): ``BaseTeacher.check_layers``.

    Returns:
        list[Stage]: From the finest to the coarsest.

    Raises:
        ConfigError: If there is no such stage or block.
    """
    found = _stages(network)
    if stride is None:
        stride = DEFAULT_STRIDE if DEFAULT_STRIDE in found else max(found)
    strides = [stride] if isinstance(stride, int) else list(stride)
    if not strides or len(set(strides)) < len(strides):
        raise ConfigError(
            '`teacher.stride` must name one stride, or several different '
            f'ones, got {strides}'
        )
    chosen = []
    for number in sorted(strides):
        if number not in found:
            raise ConfigError(
                f'`teacher.stride` is {number}, but the stages of '
                f'{type(network).__name__} have tokens every '
                f'{", ".join(map(str, found))} px; choose of these'
            )
        index, width, depth = found[number]
        chosen.append(Stage(index, number, width, check(layer, depth)))
    return chosen


def _stages(network: Any) -> dict[int, tuple[int, int, int]]:
    """Index, width and depth of the last stage of each stride."""
    widths = [info['num_chs'] for info in network.feature_info]
    if isinstance(network, timm.models.SwinTransformer):
        first = network.patch_embed.patch_size[0]
        depths = [len(stage.blocks) for stage in network.layers]
        pools = len(depths)
    else:
        first = network.patch_stride[0]
        ends = [-1, *network.stage_ends]
        depths = [end - start for start, end in pairwise(ends)]
        pools = network.q_pool
    return {
        first * 2 ** min(index, pools): (index, width, depth)
        for index, (width, depth) in enumerate(
            zip(widths, depths, strict=True)
        )
    }


def image_size(network: Any) -> tuple[int, int]:
    """Height and width of the images that the network was built for."""
    if isinstance(network, timm.models.SwinTransformer):
        return tuple(network.patch_embed.img_size)
    rows, columns = network.tokens_spatial_shape
    return rows * network.patch_stride[0], columns * network.patch_stride[1]


def check_windows(
    network: Any, stages: Sequence[Stage], asked: Sequence[int] | int | None
) -> None:
    """Refuse images that the windows of the attention do not divide.

    A Swin would fill up the last windows by zeros that it has never seen.

    Args:
        network (nn.Module): A Hiera or Swin.
        stages (Sequence[Stage]): Those that are read.
        asked (Sequence[int] or int, optional): Image size that was asked
            for, None = the network's own.

    Raises:
        ConfigError: It names the sizes that work.
    """
    if isinstance(network, timm.models.SwinTransformer):
        size = image_size(network)
        step = _window_step(network, stages[-1].place)
        fits = all(
            _fits(grid, window)
            for grid, window in _windows(network, stages[-1].place)
        )
        more = ', or another `window_size` there'
    else:
        unit = network.mask_unit_size[0]
        step = network.patch_stride[0] * max(
            unit, 2 ** (len(network.stage_ends) - 1)
        )
        if asked is None:
            size = image_size(network)
        else:
            height, width = (asked, asked) if isinstance(asked, int) else asked
            size = (height, width)
        fits = not any(side % step for side in size)
        more = ''
    if not fits:
        raise ConfigError(
            f'images of {size[0]}x{size[1]} px are no whole number of the '
            f'windows of this {type(network).__name__}; set `img_size` in '
            f'`teacher.model_args` to multiples of {step}, such as '
            f'{_near(size[0], step)}{more}'
        )


def _windows(network: Any, last: int) -> list[tuple[list[int], list[int]]]:
    """Grid and windows of each stage of a Swin."""
    return [
        (
            [side // 2**index for side in network.patch_embed.grid_size],
            [
                max(block.window_size[axis] for block in stage.blocks)
                for axis in (0, 1)
            ],
        )
        for index, stage in enumerate(network.layers[: last + 1])
    ]


def _fits(grid: Sequence[int], windows: Sequence[int]) -> bool:
    return all(
        side > 0 and side % window == 0
        for side, window in zip(grid, windows, strict=True)
    )


def _window_step(network: Any, last: int) -> int:
    """Pixels of a window of the coarsest stage that is read."""
    window = max(network._ref_window_sizes[last])
    return network.patch_embed.patch_size[0] * 2**last * window


def _near(side: int, step: int) -> int:
    return max(round(side / step), 1) * step


def prune(network: Any, stages: Sequence[Stage]) -> None:
    """Leave out the blocks behind those that are read, and the head."""
    last, block = stages[-1].place, stages[-1].blocks[-1]
    if isinstance(network, timm.models.SwinTransformer):
        blocks = network.layers[last].blocks
        ends = last == len(network.layers) - 1 and block == len(blocks) - 1
        network.prune_intermediate_layers([last], prune_norm=not ends)
        network.layers[last].blocks = blocks[: block + 1]
        return
    network.prune_intermediate_layers(
        [_first_block(network, last) + block], coarse=False
    )


def _first_block(network: Any, stage: int) -> int:
    return network.stage_ends[stage - 1] + 1 if stage else 0


def stage_tokens(
    network: Any, stages: Sequence[Stage], images: Tensor
) -> list[Tensor]:
    """Tokens of the chosen blocks on the grid of the finest stage.

    Those of coarser stages are repeated.

    Args:
        network (nn.Module): A Hiera or Swin.
        stages (Sequence[Stage]): Those that are read.
        images (Tensor): ``(B, 3, H, W)``.

    Returns:
        list[Tensor]: ``(B, L, C)`` each.
    """
    if isinstance(network, timm.models.SwinTransformer):
        maps = _swin_maps(network, stages, images)
    else:
        indices = [
            _first_block(network, stage.place) + block
            for stage in stages
            for block in stage.blocks
        ]
        maps = network.forward_intermediates(
            images,
            indices=indices,
            output_fmt='NHWC',
            intermediates_only=True,
            coarse=False,
        )
    rows = maps[0].size(1)
    found = []
    for tokens in maps:
        times = rows // tokens.size(1)
        if times > 1:
            tokens = tokens.repeat_interleave(times, 1)
            tokens = tokens.repeat_interleave(times, 2)
        found.append(tokens.flatten(1, 2))
    return found


def _swin_maps(
    network: Any, stages: Sequence[Stage], images: Tensor
) -> list[Tensor]:
    chosen = {(stage.place, x) for stage in stages for x in stage.blocks}
    tokens = network.patch_embed(images)
    found = []
    for index, stage in enumerate(network.layers):
        tokens = stage.downsample(tokens)
        for number, block in enumerate(stage.blocks):
            tokens = block(tokens)
            if (index, number) in chosen:
                found.append(tokens)
    # The final norm is of the last block, or left out.
    return [*found[:-1], network.norm(found[-1])]


def resize_positions(positions: Tensor, network: Any) -> Tensor:
    """Bring Hiera's table of positions to the image size of the network.

    What it has learned repeats from window to window (`Window Attention is
    Bugged <https://arxiv.org/abs/2311.05613>`_), so each place of a window is
    resized over the windows, on its own.

    Args:
        positions (Tensor): Of a square grid, ``(1, N, C)``.
        network (nn.Module): A Hiera.

    Returns:
        Tensor: ``(1, M, C)``.

    Raises:
        ConfigError: If the grid of the table is no square of windows.
    """
    rows, columns = network.tokens_spatial_shape
    unit = network.mask_unit_size[0]
    if positions.dim() != 3 or positions.size(1) == rows * columns:
        return positions
    side = round(positions.size(1) ** 0.5)
    if side**2 != positions.size(1) or side % unit:
        raise ConfigError(
            f'`teacher.checkpoint` has {positions.size(1)} positions, no '
            f'square of windows of {unit}x{unit}; set `img_size` in '
            '`teacher.model_args` to that of its pre-training'
        )
    windows = side // unit
    table = positions.reshape(windows, unit, windows, unit, -1)
    table = table.permute(1, 3, 4, 0, 2).flatten(0, 1)
    table = F.interpolate(
        table,
        (rows // unit, columns // unit),
        mode='bicubic',
        antialias=True,
    )
    table = table.unflatten(0, (unit, unit)).permute(3, 0, 4, 1, 2)
    return table.reshape(1, rows * columns, -1)
