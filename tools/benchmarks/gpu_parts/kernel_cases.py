"""Inputs of the kernels, and what they are to compute, in float64."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse.geometry import Geometry
from mmhgkd.sparse.window import Window

THREE = Window((3, 3), 1, (1, 1))
STRIDED = Window((3, 3), 2, (1, 1))
EPS = 1e-5


class Case(NamedTuple):
    """One launch of a kernel.

    Args:
        name (str): Of the kernel.
        shape (str): Of its input, to name it.
        kernel (Callable): Returns what it computes.
        reference (Callable): Returns the same in float64.
    """

    name: str
    shape: str
    kernel: Callable[[], Sequence[Tensor]]
    reference: Callable[[], Sequence[Tensor]]


class _Draw:
    """Random tensors, the same in every run."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int) -> Tensor:
        x = torch.randn(*shape, generator=self.generator)
        return x.to(self.device, self.dtype)


def _geometry(batch: int, side: int, device: str) -> Geometry:
    mask = RandomUnitMask().draw(batch, side, side, 0, device)
    return Geometry(mask)


def _padded(rows: Tensor, *ends: float) -> Tensor:
    """Rows in float64, and what masked and outside positions read."""
    last = rows.new_tensor(ends or [0.0], dtype=torch.float64)
    last = last[:, None].expand(-1, rows.size(1))
    return torch.cat([rows.double(), last])


def convolutions(
    batch: int, side: int, channels: int, dtype: torch.dtype, device: str
) -> Iterator[Case]:
    """Products of the stages of a ResNet, depthwise ones, and a stem."""
    from mmhgkd.sparse.triton import gather_gemm as products
    from mmhgkd.sparse.triton import stem as stems
    from mmhgkd.sparse.triton import weight_gradient as gradients

    geometry, draw = _geometry(batch, side, device), _Draw(device, dtype)
    layers = [
        (4 * 2**stage, channels * 2**stage, channels * 2**stage, THREE)
        for stage in range(4)
    ]
    layers.append((4, channels, 2 * channels, STRIDED))
    # Three halves of a power of two have tiles of their own.
    layers.append((8, 3 * channels, 3 * channels // 2, THREE))
    for stride, c_in, c_out, window in layers:
        table = geometry.table(stride, window)
        rows = draw(geometry.num_rows(stride), c_in)
        grad = draw(table.size(0), c_out)
        weight = draw(window.taps, c_in, c_out)
        shape = f'{table.size(0)} rows, {c_in} to {c_out} channels'
        yield Case(
            'gather_gemm',
            shape,
            _of(products.gather_gemm, rows, weight, table),
            _of(_product, rows, weight, table),
        )
        yield Case(
            'weight_gradient',
            shape,
            _of(gradients.weight_gradient, rows, grad, table),
            _of(_weight_gradient, rows, grad, table),
        )
    for stride, width, window in (
        (4, 3 * channels // 2, Window((7, 7), 1, (3, 3))),
        (8, channels + 8, Window((5, 5), 2, (2, 2))),
    ):
        table = geometry.table(stride, window)
        rows = draw(geometry.num_rows(stride), width)
        grad, weight = draw(table.size(0), width), draw(window.taps, width)
        shape = f'{table.size(0)} rows, {width} channels'
        yield Case(
            'gather_depthwise',
            shape,
            _of(products.gather_depthwise, rows, weight, table),
            _of(_depthwise, rows, weight, table),
        )
        yield Case(
            'depthwise_weight_gradient',
            shape,
            _of(gradients.depthwise_weight_gradient, rows, grad, table),
            _of(_depthwise_gradient, rows, grad, table),
        )
    window = Window((7, 7), 2, (3, 3))
    around = geometry.table(geometry.mask.unit, stems.AROUND)
    table = geometry.table(1, window)
    rows = draw(geometry.num_rows(1), 3)
    grad, weight = draw(table.size(0), channels), draw(channels, 3 * 49)
    sizes = [geometry.mask.block(1), 2, 7, 3, 1]
    shape = f'{table.size(0)} rows, 3 to {channels} channels'
    # The kernel's summands are channels first, those of a table taps first.
    by_tap = weight.view(channels, 3, 49).permute(2, 1, 0)
    yield Case(
        'stem',
        shape,
        lambda: [stems.stem(rows, weight, around, sizes)],
        lambda: [_product(rows, by_tap, table)],
    )
    yield Case(
        'stem_weight_gradient',
        shape,
        lambda: [stems.stem_weight_gradient(rows, grad, around, sizes)],
        lambda: [
            _weight_gradient(rows, grad, table).permute(2, 1, 0).flatten(1)
        ],
    )


def _of(
    function: Callable[..., Tensor], *inputs: Tensor
) -> Callable[[], Sequence[Tensor]]:
    """A call with these inputs, whatever becomes of their names."""
    return lambda: [function(*inputs)]


def _product(rows: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    source = _padded(rows)
    return sum(
        source[read] @ factor.double()
        for read, factor in zip(table.unbind(1), weight, strict=True)
    )


def _weight_gradient(rows: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    source, slope = _padded(rows), grad.double()
    return torch.stack([source[read].t() @ slope for read in table.unbind(1)])


def _depthwise(rows: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    source = _padded(rows)
    return sum(
        source[read] * factor.double()
        for read, factor in zip(table.unbind(1), weight, strict=True)
    )


def _depthwise_gradient(rows: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    source, slope = _padded(rows), grad.double()
    return torch.stack(
        [(source[read] * slope).sum(0) for read in table.unbind(1)]
    )


def pools(
    batch: int, side: int, channels: int, dtype: torch.dtype, device: str
) -> Iterator[Case]:
    """The pooling behind a stem."""
    from mmhgkd.sparse.triton import max_pool as kernels

    geometry, draw = _geometry(batch, side, device), _Draw(device, dtype)
    table = geometry.table(2, STRIDED, mark_outside=True)
    phases = geometry.phases(2, STRIDED)
    rows = draw(geometry.num_rows(2), channels)
    grad = draw(table.size(0), channels)
    shape = f'{len(rows)} rows, {channels} channels'
    values = torch.stack(
        [_padded(rows, 0.0, float('-inf'))[x] for x in table.unbind(1)]
    )
    best = values.amax(0)
    # The first of equals; the largest of a boolean need not be the first.
    taps = torch.arange(len(values), device=device)[:, None, None]
    chosen = taps.where(values == best, len(values)).amin(0)
    yield Case(
        'max_pool',
        shape,
        lambda: kernels.max_pool(rows, table),
        lambda: (best, chosen),
    )

    def gradient() -> Sequence[Tensor]:
        total = torch.zeros(len(rows) + 2, channels).to(device).double()
        for tap, read in enumerate(table.unbind(1)):
            total.index_add_(0, read, grad.double() * (chosen == tap))
        return [total[: len(rows)]]

    yield Case(
        'max_pool_gradient',
        shape,
        lambda: [
            kernels.max_pool_gradient(
                grad,
                chosen.to(torch.int8),
                [phase.table for phase in phases],
                [tap for phase in phases for tap in phase.taps],
                geometry.mask.block(2),
                2,
            )
        ],
        gradient,
    )


def norms(
    batch: int, side: int, channels: int, dtype: torch.dtype, device: str
) -> Iterator[Case]:
    """Statistics, application and gradients with all that is fused."""
    from mmhgkd.sparse.triton import norm_kernels as kernels
    from mmhgkd.sparse.triton.row_statistics import row_statistics

    geometry, draw = _geometry(batch, side, device), _Draw(device, dtype)
    number = geometry.num_rows(4)
    # A mean that is large against the deviation costs digits.
    rows = draw(number, channels) + 3
    residual, grad = draw(number, channels), draw(number, channels)
    weight, bias = draw(channels).float() + 2, draw(channels).float()
    factor = draw(batch).float().sign().clamp(min=0) / 0.95
    shape = f'{number} rows, {channels} channels'
    exact = rows.double()
    mean, variance = exact.mean(0), exact.var(0, unbiased=False)
    statistics = torch.stack([mean, variance]).float()
    scales = factor.double().repeat_interleave(number // batch)[:, None]
    normal = (exact - mean) * (variance + EPS).rsqrt()
    before = (normal * weight.double() + bias.double()) * scales
    after = (before + residual.double()).relu()
    out = after.to(dtype)
    slope = grad.double() * (out > 0)
    plain = torch.stack(
        [(slope * scales).sum(0), (slope * scales * normal).sum(0)]
    )
    options: Any = (factor, statistics)
    yield Case(
        'row_statistics',
        shape,
        lambda: [row_statistics(rows)],
        lambda: [torch.stack([mean, variance])],
    )
    yield Case(
        'apply_norm',
        shape,
        lambda: [
            kernels.apply_norm(
                rows, statistics, weight, bias, EPS, residual, factor, True
            )
        ],
        lambda: [after],
    )
    yield Case(
        'norm_gradient_sums',
        shape,
        lambda: [kernels.norm_gradient_sums(grad, rows, out, *options, EPS)],
        lambda: [plain],
    )

    def gradients() -> Sequence[Tensor]:
        with torch.enable_grad():
            x = exact.clone().requires_grad_()
            y = F.batch_norm(
                x, None, None, weight.double(), None, True, 0.1, EPS
            )
            (d_rows,) = torch.autograd.grad(y, x, slope * scales)
        return [d_rows, slope]

    yield Case(
        'norm_gradient',
        shape,
        lambda: kernels.norm_gradient(
            grad,
            rows,
            out,
            *options,
            weight,
            EPS,
            plain.float(),
            number,
            True,
        ),
        gradients,
    )
