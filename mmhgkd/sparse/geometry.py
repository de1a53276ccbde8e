from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmhgkd.masks import UnitMask

from .places import Ramp, padded_units, unit_places
from .window import Window


class Phase(NamedTuple):
    """Input rows that are read through the same taps.

    Args:
        taps (tuple[int, ...]): Row-major taps of the window.
        table (Tensor): Output row that reads each input row of the phase
            through each tap, ``(rows, taps)`` int32.
    """

    taps: tuple[int, ...]
    table: Tensor


class Pairs(NamedTuple):
    """Rows that the taps of a window connect, sorted by tap.

    Args:
        inputs (Tensor): Input row of each pair, ``(P, )``.
        outputs (Tensor): Output row of each pair, ``(P, )``.
        sizes (tuple[int, ...]): Pairs of each tap.
    """

    inputs: Tensor
    outputs: Tensor
    sizes: tuple[int, ...]


class Geometry:
    """Which packed rows a sliding window reads, for one mask.

    All features of one forward pass share one instance, which computes a
    table when a layer first asks for it. The tables follow from the unit ids
    by arithmetic: a window reads the units around its own at fixed places,
    so a look-up of the neighboring units is all that depends on the mask.
    Shapes are static and nothing waits for the device.

    Row ``N`` of a table, one past the last, is a masked position or one
    outside the image: it reads as zero.

    Args:
        mask (UnitMask): Which units are visible.
        triton (bool): Whether Triton kernels may serve. Defaults to True.
    """

    def __init__(self, mask: UnitMask, triton: bool = True) -> None:
        self.mask = mask
        self.triton = triton
        self.num_units = mask.ids.numel()
        self._tables: dict[tuple, Any] = {}

    def num_rows(self, stride: int) -> int:
        """Visible positions of the batch on the map of ``stride`` pixels."""
        return self.num_units * self.mask.block(stride) ** 2

    def table(
        self, stride: int, window: Window, mark_outside: bool = False
    ) -> Tensor:
        """Input rows that each output row reads.

        Args:
            stride (int): Pixels between two input positions.
            window (Window): The window that slides over the input.
            mark_outside (bool): Whether positions outside the image are row
                ``N + 1`` instead of ``N``. Defaults to False.

        Returns:
            Tensor: ``(N_out, taps)`` int32, taps row-major.
        """

        def build() -> Tensor:
            count = self.mask.block(stride * window.stride)
            y, x = (
                Ramp(-padding, count, window.stride, taps, dilation)
                for taps, padding, dilation in window.axes
            )
            return self._rows(stride, y, x, mark_outside)

        return self.cached(('table', stride, window, mark_outside), build)

    def phases(self, stride: int, window: Window) -> tuple[Phase, ...]:
        """Output rows that read each input row: the transposed table.

        A stride of ``s`` sorts the positions of a unit by the remainders of
        their coordinates into ``s * s`` phases, each read through taps of
        its own. Phase ``i * s + j`` has the positions ``[i::s, j::s]``.

        Returns:
            tuple[Phase]: The phases; row ``N_out`` stands for none.
        """

        def build() -> tuple[Phase, ...]:
            side = range(window.stride)
            return tuple(
                self._phase(stride, window, (i, j)) for i in side for j in side
            )

        return self.cached(('phases', stride, window), build)

    def halo(
        self, stride: int, window: Window, mark_outside: bool = False
    ) -> Tensor:
        """Input rows that the outputs of each unit read together.

        Returns:
            Tensor: ``(units, height, width)`` int32; a window that slides
            over it without padding gives the outputs of the unit.
        """

        def build() -> Tensor:
            last = self.mask.block(stride * window.stride) - 1
            size = last * window.stride + 1
            y, x = (
                Ramp(-padding, size + dilation * (taps - 1))
                for taps, padding, dilation in window.axes
            )
            table = self._rows(stride, y, x, mark_outside)
            return table.view(self.num_units, y.number, x.number)

        return self.cached(('halo', stride, window, mark_outside), build)

    def output_halo(self, stride: int, window: Window) -> Tensor:
        """Output rows that read any input of each unit.

        Returns:
            Tensor: ``(units, height, width)`` int32; its first position is
            :func:`first_reader`.
        """

        def build() -> Tensor:
            last = self.mask.block(stride) - 1
            ramps = []
            for axis in range(2):
                first = first_reader(window, axis)
                end = (last + window.padding[axis]) // window.stride
                ramps.append(Ramp(first, end - first + 1))
            y, x = ramps
            table = self._rows(stride * window.stride, y, x)
            return table.view(self.num_units, y.number, x.number)

        return self.cached(('output_halo', stride, window), build)

    def pairs(self, stride: int, window: Window) -> Pairs:
        """Input and output rows that a tap connects, without the masked.

        How many there are depends on the mask, so this waits for the device:
        it is for the CPU.
        """

        def build() -> Pairs:
            table = self.table(stride, window).t()
            taps, outputs = (table < self.num_rows(stride)).nonzero().unbind(1)
            sizes = taps.bincount(minlength=window.taps)
            return Pairs(table[taps, outputs], outputs, tuple(sizes.tolist()))

        return self.cached(('pairs', stride, window), build)

    def cached(self, key: tuple, build: Callable[[], Any]) -> Any:
        """Value of a key, built when it is first asked for."""
        if key not in self._tables:
            self._tables[key] = build()
        return self._tables[key]

    def _phase(
        self, stride: int, window: Window, remainders: tuple[int, int]
    ) -> Phase:
        count = self.mask.block(stride * window.stride)
        taps, ramps = [], []
        for axis, remainder in enumerate(remainders):
            start = remainder + window.padding[axis]
            dilation = window.dilation[axis]
            read = [
                tap
                for tap in range(window.kernel[axis])
                if (start - tap * dilation) % window.stride == 0
            ]
            outputs = [
                (start - tap * dilation) // window.stride for tap in read
            ]
            step = outputs[1] - outputs[0] if len(read) > 1 else 0
            first = outputs[0] if read else 0
            taps.append(read)
            ramps.append(Ramp(first, count, 1, len(read), step))
        y, x = ramps
        table = self._rows(stride * window.stride, y, x)
        width = window.kernel[1]
        return Phase(
            tuple(y * width + x for y in taps[0] for x in taps[1]), table
        )

    def _rows(
        self, stride: int, y: Ramp, x: Ramp, mark_outside: bool = False
    ) -> Tensor:
        """Rows at places counted from the corner of every unit.

        Returns:
            Tensor: ``(units * y.number * x.number, y.taps * x.taps)`` int32.
        """
        block, size = self.mask.block(stride), self.num_rows(stride)
        radius = max(
            1, -(min(y.low, x.low) // block), max(y.high, x.high) // block
        )
        near, within = unit_places(block, radius, y, x, self.mask.ids.device)
        units = self._neighbors(radius)[:, near]
        table = torch.add(within, units, alpha=block**2).clamp_(max=size)
        if mark_outside:
            table.masked_fill_(units == self.num_units + 1, size + 1)
        return table.view(
            self.num_units * y.number * x.number, y.taps * x.taps
        )

    def _neighbors(self, radius: int) -> Tensor:
        """Numbers of the units around each visible unit, row-major.

        Units are numbered in packed order. Masked ones are ``U``, those
        outside the image ``U + 1``.

        Returns:
            Tensor: ``(U, (2 * radius + 1) ** 2)`` int32.
        """

        def build() -> Tensor:
            ids = self.mask.ids
            outside, inner, around = padded_units(
                self.mask.rows, self.mask.columns, radius, ids.device
            )
            places = inner[ids]
            numbers = torch.arange(
                self.num_units, dtype=torch.int32, device=ids.device
            ).view_as(ids)
            units = (outside + self.num_units).repeat(ids.size(0), 1)
            units.scatter_(1, places, numbers)
            found = units.gather(1, (places[..., None] + around).flatten(1))
            return found.view(self.num_units, -1)

        return self.cached(('neighbors', radius), build)


def first_reader(window: Window, axis: int) -> int:
    """First output, counted from a unit's own, that reads the unit."""
    return -((window.reach(axis) - window.padding[axis]) // window.stride)
