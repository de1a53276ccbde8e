"""Tables of packed rows against loops over images, units and positions."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmhgkd.masks import UnitMask
from mmhgkd.sparse.geometry import Geometry, first_reader
from mmhgkd.sparse.window import Window

# Two images of 2x3 units; the ids are in no order.
MASK = UnitMask(torch.tensor([[4, 0, 3], [5, 1, 2]]), 2, 3, 8)
WINDOWS = [
    Window((1, 1)),
    Window((1, 1), 2),
    Window((3, 3), 1, (1, 1)),
    Window((3, 3), 2, (1, 1)),
    Window((7, 7), 2, (3, 3)),
    Window((3, 3), 1, (2, 2), (2, 2)),
    Window((5, 1), 1, (2, 0)),
    Window((4, 4), 4),
]
CASES = [
    (stride, window)
    for stride, window in itertools.product((1, 2, 4, 8), WINDOWS)
    if stride * window.stride <= 8
]


def row_of(stride: int, image: int, y: int, x: int) -> int:
    """Packed row, -1 for a masked position and -2 for one outside."""
    block = MASK.unit // stride
    unit_y, unit_x = y // block, x // block
    if not (0 <= unit_y < MASK.rows and 0 <= unit_x < MASK.columns):
        return -2
    ids = MASK.ids[image].tolist()
    unit = unit_y * MASK.columns + unit_x
    if unit not in ids:
        return -1
    slot = image * len(ids) + ids.index(unit)
    return (slot * block + y % block) * block + x % block


def places(stride: int) -> list[tuple[int, int, int]]:
    """Image, y and x of every packed row."""
    block = MASK.unit // stride
    return [
        (
            image,
            unit // MASK.columns * block + y,
            unit % MASK.columns * block + x,
        )
        for image, ids in enumerate(MASK.ids.tolist())
        for unit in ids
        for y in range(block)
        for x in range(block)
    ]


def naive_table(stride: int, window: Window) -> list[list[int]]:
    rows = []
    for image, y, x in places(stride * window.stride):
        rows.append(
            [
                row_of(
                    stride,
                    image,
                    y * window.stride
                    - window.padding[0]
                    + i * window.dilation[0],
                    x * window.stride
                    - window.padding[1]
                    + j * window.dilation[1],
                )
                for i in range(window.kernel[0])
                for j in range(window.kernel[1])
            ]
        )
    return rows


@pytest.mark.parametrize(('stride', 'window'), CASES)
def test_table_equals_loops(stride: int, window: Window) -> None:
    geometry = Geometry(MASK)
    size = len(places(stride))
    assert geometry.num_rows(stride) == size
    expected = torch.tensor(naive_table(stride, window))
    marked = geometry.table(stride, window, mark_outside=True)
    assert torch.equal(
        marked.long(), expected.where(expected >= 0, size - 1 - expected)
    )
    table = geometry.table(stride, window)
    assert torch.equal(table.long(), expected.where(expected >= 0, size))


@pytest.mark.parametrize(('stride', 'window'), CASES)
def test_phases_and_pairs_invert_the_table(
    stride: int, window: Window
) -> None:
    geometry = Geometry(MASK)
    expected = {
        (read, out, tap)
        for out, row in enumerate(naive_table(stride, window))
        for tap, read in enumerate(row)
        if read >= 0
    }
    block = MASK.block(stride)
    rows = torch.arange(geometry.num_rows(stride)).view(-1, block, block)
    found = []
    for index, phase in enumerate(geometry.phases(stride, window)):
        i, j = divmod(index, window.stride)
        own = rows[:, i :: window.stride, j :: window.stride].flatten()
        assert phase.table.shape == (len(own), len(phase.taps))
        for read, outs in zip(own.tolist(), phase.table.tolist(), strict=True):
            found += [
                (read, out, tap)
                for out, tap in zip(outs, phase.taps, strict=True)
                if out < geometry.num_rows(stride * window.stride)
            ]
    assert len(found) == len(expected) and set(found) == expected

    pairs = geometry.pairs(stride, window)
    taps = torch.arange(window.taps).repeat_interleave(
        torch.tensor(pairs.sizes)
    )
    columns = (pairs.inputs.tolist(), pairs.outputs.tolist(), taps.tolist())
    assert sorted(zip(*columns, strict=True)) == sorted(expected)


@pytest.mark.parametrize(('stride', 'window'), CASES)
def test_halo_equals_loops(stride: int, window: Window) -> None:
    geometry = Geometry(MASK)
    block, size = MASK.block(stride), geometry.num_rows(stride)
    halo = geometry.halo(stride, window, mark_outside=True)
    corners = places(MASK.unit)
    for unit, (image, y, x) in enumerate(corners):
        for i, j in itertools.product(*map(range, halo.shape[1:])):
            row = row_of(
                stride,
                image,
                y * block + i - window.padding[0],
                x * block + j - window.padding[1],
            )
            assert halo[unit, i, j] == (row if row >= 0 else size - 1 - row)


@pytest.mark.parametrize(('stride', 'window'), CASES)
def test_output_halo_equals_loops(stride: int, window: Window) -> None:
    geometry, out_stride = Geometry(MASK), stride * window.stride
    block, size = MASK.block(out_stride), geometry.num_rows(out_stride)
    halo = geometry.output_halo(stride, window)
    first = [first_reader(window, axis) for axis in range(2)]
    for unit, (image, y, x) in enumerate(places(MASK.unit)):
        for i, j in itertools.product(*map(range, halo.shape[1:])):
            row = row_of(
                out_stride,
                image,
                y * block + i + first[0],
                x * block + j + first[1],
            )
            assert halo[unit, i, j] == (row if row >= 0 else size)


class Counter(TorchDispatchMode):
    """Counts operations of PyTorch."""

    number = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.number += 1
        return func(*args, **kwargs or {})


def test_a_table_costs_four_operations() -> None:
    def build(mask: UnitMask) -> int:
        geometry = Geometry(mask)
        tables = 0
        for stride in (1, 2, 4):
            geometry.table(stride, WINDOWS[3])
            tables += 1 + len(geometry.phases(stride, WINDOWS[3]))
        return tables

    build(MASK)
    with Counter() as counter:
        tables = build(MASK._replace(ids=MASK.ids.flip(1)))
    # And a few for the neighbors of all units.
    assert counter.number <= 4 * tables + 12


def test_tables_are_computed_once_and_shared() -> None:
    geometry = Geometry(MASK)
    window = WINDOWS[2]
    assert geometry.table(2, window) is geometry.table(2, window)
    assert geometry.phases(2, window) is geometry.phases(2, window)
    assert geometry.table(4, window) is not geometry.table(2, window)


@pytest.mark.parametrize('window', WINDOWS[1:4])
def test_tables_wait_for_no_device(window: Window) -> None:
    # The meta device has shapes but no data: reading a value raises.
    geometry = Geometry(MASK._replace(ids=MASK.ids.to('meta')))
    shapes = Geometry(MASK)
    for name in ('table', 'halo', 'output_halo'):
        table = getattr(geometry, name)(2, window)
        assert table.shape == getattr(shapes, name)(2, window).shape
        assert table.dtype == torch.int32
    for phase in geometry.phases(2, window):
        assert phase.table.device.type == 'meta'


def test_unit_must_be_a_multiple_of_the_stride() -> None:
    with pytest.raises(ValueError, match='mask unit of 8 px'):
        Geometry(MASK).table(8, Window((3, 3), 2, (1, 1)))


def test_window_of_layers() -> None:
    assert Window.of(nn.Conv2d(1, 1, (5, 3), 2, (2, 1))) == Window(
        (5, 3), 2, (2, 1)
    )
    assert Window.of(nn.MaxPool2d(3, 2, 1)) == Window((3, 3), 2, (1, 1))
    assert Window.of(nn.AvgPool2d(2, ceil_mode=True)) == Window((2, 2), 2)
    assert Window.of(nn.Conv2d(1, 1, 3, padding=2, dilation=2)).reach(0) == 4
    same = nn.Conv2d(1, 1, (3, 7), padding='same', dilation=(2, 1))
    assert Window.of(same).padding == (2, 3)


@pytest.mark.parametrize(
    ('module', 'message'),
    [
        (nn.Conv2d(1, 1, 3), 'set its padding'),
        (nn.Conv2d(1, 1, 2, padding=1), 'set its padding'),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), 'set its padding'),
        (nn.Conv2d(1, 1, 3, (1, 2), 1), 'same stride'),
        (nn.Conv2d(1, 1, 4, padding='same'), 'even number'),
        (nn.Conv2d(1, 1, 3, padding='valid'), 'set its padding'),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode='reflect'), 'zeros'),
    ],
)
def test_layers_that_do_not_keep_units_are_refused(
    module: nn.Conv2d | nn.MaxPool2d, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Window.of(module)
