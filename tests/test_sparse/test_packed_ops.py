"""Packed convolutions and pooling against dense layers on masked maps."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmhgkd.masks import UnitMask
from mmhgkd.sparse import PackedFeature, gather_conv, packed_pool
from mmhgkd.sparse.cpu_conv import halo_conv, pair_conv
from mmhgkd.sparse.geometry import Geometry
from mmhgkd.sparse.layers import apply_layer
from mmhgkd.sparse.rows import dense_to_rows, interleave, rows_to_dense
from mmhgkd.sparse.table_conv import table_conv
from mmhgkd.sparse.window import Window

MASK = UnitMask(torch.tensor([[4, 0, 3], [5, 1, 2]]), 2, 3, 8)


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).to(dtype)


def visible_maps(stride: int, channels: int, mask: UnitMask = MASK) -> Tensor:
    maps = draw(2, channels, 16 // stride, 24 // stride)
    return maps.to(mask.ids.device) * mask.visible(stride)


@pytest.fixture
def mask(device: torch.device) -> UnitMask:
    return MASK._replace(ids=MASK.ids.to(device))


def differentiate(
    function: Callable[..., Tensor], *inputs: Tensor
) -> list[Tensor]:
    """Output and gradients of a sum with fixed weights."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    weights = draw(*out.shape).to(out.device)
    gradients = torch.autograd.grad((out * weights).sum(), leaves)
    return [out.detach(), *gradients]


def dense_conv(
    window: Window,
    stride: int,
    groups: int,
    mask: UnitMask,
    maps: Tensor,
    weight: Tensor,
) -> Tensor:
    out = F.conv2d(
        maps,
        weight,
        None,
        window.stride,
        window.padding,
        window.dilation,
        groups,
    )
    return dense_to_rows(out, mask, stride * window.stride)


IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = dict(
    table=table_conv,
    halo=halo_conv,
    pair=lambda *args: pair_conv(*args[:-1]),
    chosen=gather_conv.gather_conv,
)


@pytest.mark.parametrize(
    ('name', 'groups'),
    [
        ('pair', 1),
        *(
            (name, groups)
            for name in ('table', 'halo', 'chosen')
            for groups in (1, 2, 4)
        ),
    ],
)
@pytest.mark.parametrize(
    ('stride', 'window'),
    [
        (4, Window((1, 1))),
        (2, Window((1, 1), 2)),
        (2, Window((3, 3), 1, (1, 1))),
        (4, Window((3, 3), 1, (1, 1))),
        (8, Window((3, 3), 1, (1, 1))),
        (2, Window((3, 3), 2, (1, 1))),
        (4, Window((3, 3), 2, (1, 1))),
        (2, Window((5, 5), 1, (2, 2))),
        (2, Window((7, 7), 2, (3, 3))),
        (8, Window((7, 7), 1, (3, 3))),
        (4, Window((3, 3), 1, (2, 2), (2, 2))),
        (2, Window((3, 3), 2, (2, 2), (2, 2))),
        (2, Window((1, 5), 1, (0, 2))),
        (2, Window((2, 2), 4)),
    ],
)
def test_conv_equals_dense_conv(
    name: str, groups: int, stride: int, window: Window, mask: UnitMask
) -> None:
    geometry = Geometry(mask)
    maps = visible_maps(stride, 4, mask)
    weight = draw(8, 4 // groups, *window.kernel).to(maps.device)
    expected = differentiate(
        lambda *inputs: dense_conv(window, stride, groups, mask, *inputs),
        maps,
        weight,
    )
    # The gradient of a masked position is not asked for.
    expected[1] = dense_to_rows(expected[1], mask, stride)
    actual = differentiate(
        lambda rows, weight: IMPLEMENTATIONS[name](
            rows, weight, geometry, stride, window, groups
        ),
        dense_to_rows(maps, mask, stride),
        weight,
    )
    for x, y in zip(actual, expected, strict=True):
        assert torch.allclose(x, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize('name', IMPLEMENTATIONS)
@pytest.mark.parametrize('stride', [1, 2])
def test_conv_gradients_are_those_of_finite_differences(
    name: str, stride: int
) -> None:
    mask = UnitMask(torch.tensor([[3, 0]]), 2, 2, 2)
    window = Window((3, 3), stride, (1, 1))
    rows = draw(8, 2).requires_grad_()
    weight = draw(3, 2, 3, 3).requires_grad_()
    geometry = Geometry(mask)
    assert torch.autograd.gradcheck(
        lambda *inputs: IMPLEMENTATIONS[name](*inputs, geometry, 1, window, 1),
        (rows, weight),
    )


@pytest.mark.parametrize('name', IMPLEMENTATIONS)
def test_conv_gives_only_the_wanted_gradients(name: str) -> None:
    window = Window((3, 3), 1, (1, 1))
    rows, weight = draw(24, 4), draw(8, 4, 3, 3)
    conv = IMPLEMENTATIONS[name]
    _, d_rows, d_weight = differentiate(
        lambda *inputs: conv(*inputs, Geometry(MASK), 4, window, 1),
        rows,
        weight,
    )
    for leaf, expected in ((rows, d_rows), (weight, d_weight)):
        leaf.requires_grad_()
        out = conv(rows, weight, Geometry(MASK), 4, window, 1)
        (out * draw(*out.shape)).sum().backward()
        assert leaf.grad is not None
        assert torch.equal(leaf.grad, expected)
        leaf.requires_grad_(False)
    assert not conv(rows, weight, Geometry(MASK), 4, window, 1).requires_grad


@pytest.mark.parametrize(
    ('stride', 'name'),
    [
        (2, 'halo_conv'),
        (4, 'pair_conv'),
    ],
)
def test_cpu_convolves_large_units_densely_and_small_ones_by_pairs(
    stride: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:

    def chosen(*_: object) -> Tensor:
        raise InterruptedError

    monkeypatch.setattr(gather_conv, name, chosen)
    feature = PackedFeature(draw(384 // stride**2, 4), Geometry(MASK), stride)
    with pytest.raises(InterruptedError):
        feature.conv(nn.Conv2d(4, 4, 3, padding=1).double())


@pytest.mark.parametrize('tables', [False, True])
@pytest.mark.parametrize(
    ('stride', 'module'),
    [
        (2, nn.MaxPool2d(3, 2, 1)),
        (1, nn.MaxPool2d(3, 2, 1)),
        (4, nn.MaxPool2d(3, 1, 1)),
        (2, nn.MaxPool2d(2)),
        (2, nn.MaxPool2d(5, 1, 2)),
        (2, nn.AvgPool2d(3, 2, 1)),
        (2, nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
        (2, nn.AvgPool2d(3, 1, 1, divisor_override=7)),
        (2, nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)),
    ],
)
def test_pooling_equals_dense_pooling(
    tables: bool,
    stride: int,
    module: nn.MaxPool2d | nn.AvgPool2d,
    mask: UnitMask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place in (gather_conv, packed_pool):
        monkeypatch.setattr(place, 'uses_tables', lambda _: tables)
    # Most are negative, so that masked zeros win beside them.
    maps = visible_maps(stride, 4, mask) - mask.visible(stride).double()
    window = Window.of(module)
    out_stride = stride * window.stride
    expected = differentiate(
        lambda maps: dense_to_rows(module(maps), mask, out_stride), maps
    )
    expected[1] = dense_to_rows(expected[1], mask, stride)
    actual = differentiate(
        lambda rows: apply_layer(
            PackedFeature(rows, Geometry(mask), stride), module
        ).rows(),
        dense_to_rows(maps, mask, stride),
    )
    if isinstance(module, nn.MaxPool2d):
        assert (actual[0] == 0).any() == any(window.padding)
    for x, y in zip(actual, expected, strict=True):
        assert torch.allclose(x, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize('tables', [False, True])
def test_max_pool_takes_the_first_of_equal_values(
    tables: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_pool, 'uses_tables', lambda _: tables)
    window = Window((3, 3), 2, (1, 1))
    maps = visible_maps(2, 4).sign().clamp(0)
    expected = differentiate(
        lambda maps: dense_to_rows(F.max_pool2d(maps, 3, 2, 1), MASK, 4), maps
    )
    geometry = Geometry(MASK)
    actual = differentiate(
        lambda rows: packed_pool.max_pool(rows, geometry, 2, window),
        dense_to_rows(maps, MASK, 2),
    )
    assert torch.equal(actual[0], expected[0])
    assert torch.equal(
        rows_to_dense(actual[1], MASK, 2), expected[1] * MASK.visible(2)
    )


def test_max_pool_saves_a_byte_an_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed_pool, 'uses_tables', lambda _: True)
    window = Window((3, 3), 2, (1, 1))
    # More channels than any table has columns.
    rows = draw(96, 20).requires_grad_()
    saved: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        saved.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = packed_pool.max_pool(rows, Geometry(MASK), 2, window)
    # All else are the tables.
    assert [x.dtype for x in saved if x.shape == out.shape] == [torch.int8]
    assert not any(x.is_floating_point() for x in saved)


def test_rows_of_one_phase_are_not_copied() -> None:
    rows = draw(96, 4)
    assert interleave([rows], 4, 1) is rows


@pytest.mark.parametrize('tables', [False, True])
def test_max_pool_passes_nan_on(
    tables: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_pool, 'uses_tables', lambda _: tables)
    rows = draw(96, 4)
    rows[5] = torch.nan
    out = packed_pool.max_pool(
        rows, Geometry(MASK), 2, Window((3, 3), 2, (1, 1))
    )
    assert out.isnan().any(0).all()


@pytest.mark.parametrize('tables', [False, True])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('stride', [2, 4, 8])
def test_half_precision_sums_in_single(
    tables: bool,
    dtype: torch.dtype,
    stride: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gather_conv, 'uses_tables', lambda _: tables)
    window, geometry = Window((3, 3), 1, (1, 1)), Geometry(MASK)
    rows = draw(384 // stride**2, 32, dtype=dtype)
    weight = draw(32, 32, 3, 3, dtype=dtype)

    def run(rows: Tensor, weight: Tensor) -> Tensor:
        return gather_conv.gather_conv(rows, weight, geometry, stride, window)

    actual = differentiate(run, rows, weight)
    exact = differentiate(run, rows.double(), weight.double())
    for x, y in zip(actual, exact, strict=True):
        assert x.dtype == dtype
        error = (x.double() - y).norm() / y.norm()
        # Products are rounded once at most, besides the result.
        assert error < 2 * torch.finfo(dtype).eps


def test_autocast_casts_what_a_dense_convolution_casts() -> None:
    rows = draw(24, 4, dtype=torch.float32)
    conv = nn.Conv2d(4, 4, 3, padding=1)
    feature = PackedFeature(rows, Geometry(MASK), 4)
    with torch.autocast('cpu', torch.bfloat16):
        half = feature.conv(conv).rows()
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), feature.conv(conv).rows(), atol=0.05)
    gradients = torch.autograd.grad(
        half.float().sum(), list(conv.parameters())
    )
    assert {x.dtype for x in gradients} == {torch.float32}


def test_bias_and_in_place_activation() -> None:
    rows = draw(24, 4)
    conv = nn.Conv2d(4, 8, 3, padding=1).double()
    feature = PackedFeature(rows, Geometry(MASK), 4)
    out = apply_layer(
        feature, nn.Sequential(conv, nn.ReLU(inplace=True))
    ).rows()
    maps = rows_to_dense(rows, MASK, 4)
    expected = dense_to_rows(F.relu(conv(maps)), MASK, 4)
    assert torch.allclose(out, expected, rtol=0, atol=1e-12)
    gradients = [
        torch.autograd.grad(y.square().sum(), list(conv.parameters()))
        for y in (out, expected)
    ]
    for x, y in zip(*gradients, strict=True):
        assert torch.allclose(x, y, rtol=0, atol=1e-10)


def test_images_must_fit_the_mask() -> None:
    for shape in ((2, 3, 16, 16), (1, 3, 16, 24), (2, 3, 24, 16)):
        with pytest.raises(ValueError, match='2 images of 16x24'):
            PackedFeature.from_images(torch.zeros(shape), MASK)
