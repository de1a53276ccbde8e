"""Block sizes of the kernels, chosen by hand and not yet measured on a GPU.

They fit the 99 KiB of shared memory that a program may have on every GPU
since Ampere. Fixing them instead of timing them when a layer
first runs makes results repeat bit for bit between runs and machines.
"""

from typing import NamedTuple

__all__ = [
    'Blocks',
    'depthwise_blocks',
    'gather_gemm_blocks',
    'norm_blocks',
    'split_rows',
    'stem_blocks',
    'weight_gradient_blocks',
]

# Programs that fill the largest GPU (132 SMs) about four times.
PROGRAMS = 512


class Blocks(NamedTuple):
    """Launch configuration of a matrix product.

    Args:
        height (int): Rows of the tile of the result.
        width (int): Columns of that tile.
        depth (int): Summands that one step takes.
        warps (int): Warps of a program.
        stages (int): Steps of the loop in flight. A load at a loaded
            index takes two, so 5 means three buffers.
    """

    height: int
    width: int
    depth: int
    warps: int
    stages: int

    def options(self) -> dict[str, int]:
        """Arguments of a kernel's launch."""
        return dict(
            HEIGHT=self.height,
            WIDTH=self.width,
            DEPTH=self.depth,
            num_warps=self.warps,
            num_stages=self.stages,
        )


def gather_gemm_blocks(c_in: int, c_out: int, element_size: int) -> Blocks:
    """Blocks of ``(n, c_in)`` rows times ``(c_in, c_out)`` weights."""
    if element_size == 2:
        width = _power(c_out, 16, 128)
        warps = 8 if width == 128 else 4
        return Blocks(128, width, _power(c_in, 16, 64), warps, 5)
    return Blocks(64, _power(c_out, 16, 64), _power(c_in, 16, 32), 4, 5)


def weight_gradient_blocks(c_in: int, c_out: int, element_size: int) -> Blocks:
    """Blocks of a ``(c_in, c_out)`` weight gradient: it sums over rows."""
    half = element_size == 2
    height = _power(c_in, 16, 128 if half else 64)
    return Blocks(height, _power(c_out, 16, 64), 64 if half else 32, 4, 5)


def stem_blocks(c_out: int) -> Blocks:
    """Blocks of the stem, for both directions.

    Indices take most registers: larger blocks spill.
    """
    return Blocks(64, _power(c_out, 16, 64), 32, 4, 2)


def depthwise_blocks(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile of a depthwise kernel."""
    width = _power(channels, 16, 128)
    return 4096 // width, width


def norm_blocks(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile of a normalization kernel."""
    width = _power(channels, 16, 128)
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


def _power(value: int, low: int, high: int) -> int:
    """Smallest power of two that is at least ``value``, within bounds."""
    return min(max(1 << (value - 1).bit_length(), low), high)


def _ceil_divide(value: int, divisor: int) -> int:
    return -(-value // divisor)
