"""Block sizes of the kernels, chosen by hand and not yet measured on a GPU.

They fit the 99 KiB of shared memory that a program may have on every GPU
since Ampere. Fixing them instead of timing them when a layer
first runs makes results repeat bit for bit between runs and machines.

The environment variable ``MMHGKD_BLOCKS`` names a table of matrix products'
blocks that ``tools/benchmarks/gpu_report.py`` has measured on a GPU; products
that it does not have, and all other kernels, keep the blocks below.
"""

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from mmhgkd.utils import ConfigError

__all__ = [
    'VARIABLE',
    'Blocks',
    'Product',
    'depthwise_blocks',
    'gather_gemm_blocks',
    'norm_blocks',
    'read_blocks',
    'split_rows',
    'stem_blocks',
    'use_blocks',
    'weight_gradient_blocks',
]

# Programs that fill the largest GPU (132 SMs) about four times.
PROGRAMS = 512
VARIABLE = 'MMHGKD_BLOCKS'
#: Kernel, input and output channels, and bytes of an element.
Product = tuple[str, int, int, int]


class Blocks(NamedTuple):
    """Launch configuration of a matrix product.

    Args:
        height (int): Rows of the tile of the result.
        width (int): Columns of that tile.
        depth (int): Summands that one step takes.
        warps (int): Warps of a program.
        stages (int): Steps of the loop in flight. A load at a loaded
            index takes two, so 5 means three buffers.
        extra (int): What a tile has beyond its power of two: columns of
            ``gather_gemm``, rows of ``weight_gradient``. Defaults to 0.
    """

    height: int
    width: int
    depth: int
    warps: int
    stages: int
    extra: int = 0

    def options(self) -> dict[str, int]:
        """Arguments of a kernel's launch, but for ``extra``."""
        return dict(
            HEIGHT=self.height,
            WIDTH=self.width,
            DEPTH=self.depth,
            num_warps=self.warps,
            num_stages=self.stages,
        )


_chosen: dict[Product, Blocks] = {}


@contextmanager
def use_blocks(product: Product, blocks: Blocks) -> Iterator[None]:
    """Give one product other blocks, to compare them."""
    _chosen[product] = blocks
    try:
        yield
    finally:
        del _chosen[product]


def gather_gemm_blocks(c_in: int, c_out: int, element_size: int) -> Blocks:
    """Blocks of ``(n, c_in)`` rows times ``(c_in, c_out)`` weights."""
    found = _find('gather_gemm', c_in, c_out, element_size)
    if found is not None:
        return found
    if element_size == 2:
        width, extra = _side(c_out, 128)
        warps = 8 if width == 128 else 4
        # The wider tile leaves shared memory for half of the depth.
        depth = _narrow(c_in, 32 if width + extra > 128 else 64)
        return Blocks(128, width, depth, warps, 5, extra)
    width, extra = _side(c_out, 64)
    return Blocks(64, width, _narrow(c_in, 32), 4, 5, extra)


def weight_gradient_blocks(c_in: int, c_out: int, element_size: int) -> Blocks:
    """Blocks of a ``(c_in, c_out)`` weight gradient: it sums over rows."""
    found = _find('weight_gradient', c_in, c_out, element_size)
    if found is not None:
        return found
    half = element_size == 2
    height, extra = _side(c_in, 128 if half else 64)
    width = _narrow(c_out, 64)
    # The higher tile leaves registers for half of the depth.
    depth = 64 if half and height + extra <= 128 else 32
    return Blocks(height, width, depth, 4, 5, extra)


def stem_blocks(c_out: int) -> Blocks:
    """Blocks of the stem, for both directions.

    Indices take most registers: larger blocks spill.
    """
    return Blocks(64, _narrow(c_out, 64), 32, 4, 2)


def depthwise_blocks(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile of a depthwise kernel."""
    width = _narrow(channels, 128)
    return 4096 // width, width


def norm_blocks(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile of a normalization kernel."""
    width = _narrow(channels, 128)
    return 2048 // width, width


def split_rows(num_rows: int, tiles: int, block: int) -> tuple[int, int]:
    """Spread a sum over rows so that the programs fill the GPU.

    Args:
        num_rows (int): Summands.
        tiles (int): Programs if nothing were spread.
        block (int): Rows of one step.

    Returns:
        tuple[int, int]: Number of partial sums and rows of each; the last
        may have fewer, but none is empty.
    """
    steps = _ceil_divide(num_rows, block)
    each = _ceil_divide(steps, min(steps, max(1, PROGRAMS // tiles)))
    return _ceil_divide(steps, each), each * block


def read_blocks(path: str | Path) -> dict[Product, Blocks]:
    """Read a table of blocks that was measured on this kind of GPU.

    Args:
        path (str or Path): A file of JSON.

    Returns:
        dict[tuple, Blocks]: Blocks by kernel, channels and element size.

    Raises:
        ConfigError: If it is no such table, or that of another GPU.
    """
    mend = (
        f'write it by tools/benchmarks/gpu_report.py, or unset {VARIABLE} for '
        'the blocks that come with the kernels'
    )
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        capability = list(map(int, content['capability']))
        table = {
            (str(kernel), int(c_in), int(c_out), int(size)): Blocks(
                *map(int, blocks)
            )
            for kernel, c_in, c_out, size, blocks in content['blocks']
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{VARIABLE}={path} is no table of blocks ({error}); {mend}'
        ) from error
    if torch.cuda.is_available():
        here = list(torch.cuda.get_device_capability())
        if here != capability:
            raise ConfigError(
                f'{VARIABLE}={path} was measured on a GPU of compute '
                f'capability {capability}, this one has {here}; {mend}'
            )
    return table


@functools.cache
def _measured() -> dict[Product, Blocks]:
    path = os.environ.get(VARIABLE)
    return read_blocks(path) if path else {}


def _find(*product: str | int) -> Blocks | None:
    return _chosen.get(product) or _measured().get(product)  # type: ignore


def _side(value: int, high: int) -> tuple[int, int]:
    """Side of a tile, and half of it more where that spares a quarter.

    Sides are powers of two, which do not fit 96 or 192 channels.
    """
    plain = _power(value, 16, high)
    if plain < high:
        return plain, 0
    # One tile and a half, and for few channels three quarters of one.
    sides = [(high, 0), (high, high // 2), (high // 2, high // 4)]
    return sides[_least_padded(value, [sum(side) for side in sides])]


def _narrow(value: int, high: int) -> int:
    """Side of a tile, a half or a quarter where that spares a quarter."""
    plain = _power(value, 16, high)
    if plain < high:
        return plain
    sides = [side for side in (high, high // 2, high // 4) if side >= 32]
    return sides[_least_padded(value, sides)]


def _least_padded(value: int, sides: list[int]) -> int:
    """Index of the side with the fewest channels too many.

    The first one stays where no other spares a quarter of its tiles.
    """
    padded = [_padded(value, side) for side in sides]
    best = min(range(len(sides)), key=lambda i: (padded[i], -sides[i]))
    return best if 4 * padded[best] <= 3 * padded[0] else 0


def _padded(value: int, side: int) -> int:
    """The value rounded up to whole tiles."""
    return _ceil_divide(value, side) * side


def _power(value: int, low: int, high: int) -> int:
    """Smallest power of two that is at least ``value``, within bounds."""
    return min(max(1 << (value - 1).bit_length(), low), high)


def _ceil_divide(value: int, divisor: int) -> int:
    return -(-value // divisor)
