"""What the tables of all masks have in common."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ['Ramp', 'padded_units', 'unit_places']


class Ramp(NamedTuple):
    """Places ``first + i * step + j * tap_step``, ``i < number, j < taps``."""

    first: int
    number: int
    step: int = 1
    taps: int = 1
    tap_step: int = 0

    @property
    def low(self) -> int:
        """Smallest place."""
        return self.first + min(0, self._tap_end)

    @property
    def high(self) -> int:
        """Largest place."""
        return (
            self.first + (self.number - 1) * self.step + max(0, self._tap_end)
        )

    @property
    def _tap_end(self) -> int:
        return (self.taps - 1) * self.tap_step

    def places(self, device: torch.device) -> Tensor:
        """The places, ``(number, taps)`` int64."""
        outer, inner = (
            torch.arange(size, device=device)
            for size in (self.number, self.taps)
        )
        return outer[:, None] * self.step + inner * self.tap_step + self.first


def _kept(build: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what no mask changes: on a GPU each operation costs a launch."""
    cached = functools.cache(build)

    def get(*args: Any) -> Any:
        # A compiler does the same, and warns of caches.
        compiling = torch.compiler.is_compiling()
        return build(*args) if compiling else cached(*args)

    return get


@_kept
def unit_places(
    block: int, radius: int, y: Ramp, x: Ramp, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where places counted from the corner of a unit lie.

    Returns:
        tuple[Tensor]: Neighbor of the unit, int64, and row within that,
        int32, of all places in the order (y, x, y tap, x tap).
    """
    rows = y.places(device)[:, None, :, None]
    columns = x.places(device)[:, None, :]
    down, right = (
        places.div(block, rounding_mode='floor') + radius
        for places in (rows, columns)
    )
    within = rows.remainder(block) * block + columns.remainder(block)
    near = down * (2 * radius + 1) + right
    return near.flatten(), within.flatten().int()


@_kept
def padded_units(
    rows: int, columns: int, radius: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The units of an image with ``radius`` more around it, row-major.

    Returns:
        tuple[Tensor]: Which are outside, int32; the places of those inside;
        what leads from a unit to the ones around it.
    """
    width = columns + 2 * radius
    outside = torch.ones(
        rows + 2 * radius, width, dtype=torch.int32, device=device
    )
    outside[radius : radius + rows, radius : radius + columns] = 0
    down, right = (
        torch.arange(size, device=device) for size in (rows, columns)
    )
    inner = (down[:, None] + radius) * width + right + radius
    step = torch.arange(-radius, radius + 1, device=device)
    around = step[:, None] * width + step
    return outside.flatten(), inner.flatten(), around.flatten()
