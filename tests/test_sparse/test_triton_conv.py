import os
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch.fx import GraphModule

from mmhgkd.masks import UnitMask
from mmhgkd.sparse import PackedFeature
from mmhgkd.sparse.gather_conv import gather_conv
from mmhgkd.sparse.geometry import Geometry
from mmhgkd.sparse.table_conv import table_conv
from mmhgkd.sparse.triton import use_triton
from mmhgkd.sparse.triton.tuning import Blocks, use_blocks
from mmhgkd.sparse.window import Window

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip(
        'test_triton_dispatch.py runs this file under the interpreter',
        allow_module_level=True,
    )

# Not before the skip: these import Triton.
from mmhgkd.sparse.triton.gather_gemm import (  # noqa: E402
    gather_depthwise,
    gather_gemm,
)
from mmhgkd.sparse.triton.stem import (  # noqa: E402
    fits_stem,
    stem,
    stem_weight_gradient,
)
from mmhgkd.sparse.triton.weight_gradient import (  # noqa: E402
    depthwise_weight_gradient,
    weight_gradient,
)

DEVICE = 'cpu' if INTERPRETED else 'cuda'
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
WINDOWS = [
    Window((3, 3), 1, (1, 1)),
    Window((3, 3), 2, (1, 1)),
    Window((3, 3), 1, (2, 2), (2, 2)),
    Window((1, 1), 2),
]
STEMS = [Window((7, 7), 2, (3, 3)), Window((3, 3), 2, (1, 1))]


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture(autouse=True)
def bfloat16_products(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The interpreter multiplies the bits of bfloat16 as integers."""
    if INTERPRETED:
        import numpy as np
        import triton.language as tl
        from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

        plain = InterpreterBuilder.create_dot

        def widen(x: TensorHandle) -> TensorHandle:
            if x.dtype.scalar != tl.bfloat16:
                return x
            bits = x.data.astype(np.uint32) << 16
            return TensorHandle(bits.view(np.float32), tl.float32)

        def create_dot(
            self: InterpreterBuilder,
            a: TensorHandle,
            b: TensorHandle,
            *args: object,
        ) -> TensorHandle:
            return plain(self, widen(a), widen(b), *args)

        monkeypatch.setattr(InterpreterBuilder, 'create_dot', create_dot)
    yield


def draw(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def draw_table(num_out: int, taps: int, num_in: int) -> Tensor:
    """Half of the entries masked, the first rows wholly."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randint(0, 2 * num_in, (num_out, taps), generator=generator)
    table[:3] = num_in
    return table.clamp(max=num_in).to(DEVICE, torch.int32)


def draw_mask() -> UnitMask:
    """Two images of 2x3 units of 8 pixels."""
    ids = torch.tensor([[0, 1, 5], [0, 3, 4]], device=DEVICE)
    return UnitMask(ids, 2, 3, 8)


def error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    difference = (actual.double() - expected).norm()
    return float(difference / expected.norm().clamp(min=1e-12))


def padded(rows: Tensor) -> Tensor:
    return torch.cat([rows.double(), rows.new_zeros(1, rows.size(1)).double()])


def dense_conv(
    rows: Tensor,
    weight: Tensor,
    mask: UnitMask,
    stride: int,
    window: Window,
    groups: int,
) -> Tensor:
    """Dense convolution of the map with zeros at masked positions."""
    batch, channels = mask.ids.size(0), rows.size(1)
    block = mask.block(stride)
    shape = (batch, mask.rows * block, mask.columns * block, channels)
    index = mask.positions(stride)[..., None].expand(-1, -1, channels)
    flat = rows.new_zeros(batch, shape[1] * shape[2], channels)
    flat = flat.scatter(1, index, rows.view(batch, -1, channels))
    out = (
        F.conv2d(
            flat.view(shape).permute(0, 3, 1, 2),
            weight,
            None,
            window.stride,
            window.padding,
            window.dilation,
            groups,
        )
        .flatten(2)
        .transpose(1, 2)
    )
    index = mask.positions(stride * window.stride)[..., None]
    return out.gather(1, index.expand(-1, -1, out.size(2))).flatten(0, 1)


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize(
    'sizes',
    [
        (150, 140, 20, 24, 9),
        (9, 5, 130, 7, 4),
        (70, 200, 64, 140, 2),
        (1, 4, 16, 16, 1),
        (30, 40, 96, 90, 2),
        (20, 20, 150, 192, 1),
    ],
)
def test_products_equal_loops(
    sizes: tuple[int, ...], dtype: torch.dtype
) -> None:
    check_products(sizes, dtype)


@pytest.mark.parametrize(
    'blocks',
    [
        Blocks(128, 256, 64, 8, 5),
        Blocks(16, 32, 16, 4, 2, 16),
        Blocks(64, 16, 32, 4, 3, 32),
    ],
)
def test_products_of_other_blocks_equal_loops(blocks: Blocks) -> None:
    sizes = (40, 50, 70, 300, 2)
    products = [
        (kernel, *sizes[2:4], 2)
        for kernel in ('gather_gemm', 'weight_gradient')
    ]
    with use_blocks(products[0], blocks), use_blocks(products[1], blocks):
        check_products(sizes, torch.float16)


def check_products(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    num_in, num_out, c_in, c_out, taps = sizes
    rows = draw(num_in, c_in, dtype=dtype)
    weight = draw(taps, c_in, c_out, seed=1, dtype=dtype)
    grad = draw(num_out, c_out, seed=2, dtype=dtype)
    table = draw_table(num_out, taps, num_in)
    expected = torch.zeros(num_out, c_out, dtype=torch.float64, device=DEVICE)
    d_weight = []
    for tap in range(taps):
        read = padded(rows)[table[:, tap]]
        expected += read @ weight[tap].double()
        d_weight.append(read.t() @ grad.double())
    out = gather_gemm(rows, weight, table)
    assert out.dtype == dtype
    assert not out[:3].any()
    assert error(out, expected) < TOLERANCE[dtype]
    assert (
        error(weight_gradient(rows, grad, table), torch.stack(d_weight))
        < TOLERANCE[torch.float32]
    )


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sizes', [(150, 300, 20, 9), (9, 5, 130, 4)])
def test_depthwise_products_equal_loops(
    sizes: tuple[int, ...], dtype: torch.dtype
) -> None:
    num_in, num_out, channels, taps = sizes
    rows = draw(num_in, channels, dtype=dtype)
    weight = draw(taps, channels, seed=1, dtype=dtype)
    grad = draw(num_out, channels, seed=2, dtype=dtype)
    table = draw_table(num_out, taps, num_in)
    read = padded(rows)[table]
    expected = (read * weight.double()).sum(1)
    d_weight = (read * grad.double()[:, None]).sum(0)
    assert (
        error(gather_depthwise(rows, weight, table), expected)
        < TOLERANCE[dtype]
    )
    assert (
        error(depthwise_weight_gradient(rows, grad, table), d_weight)
        < TOLERANCE[torch.float32]
    )


def test_no_visible_row_gives_zero() -> None:
    table = torch.full((5, 9), 4, dtype=torch.int32, device=DEVICE)
    rows, grad = draw(4, 16), draw(5, 16)
    assert not gather_gemm(rows, draw(9, 16, 16), table).any()
    assert not weight_gradient(rows, grad, table).any()
    assert not gather_depthwise(rows, draw(9, 16), table).any()
    assert not depthwise_weight_gradient(rows, grad, table).any()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('groups', [1, 18])
@pytest.mark.parametrize('window', WINDOWS)
def test_conv_equals_dense_conv(
    window: Window, groups: int, dtype: torch.dtype
) -> None:
    mask = draw_mask()
    geometry = Geometry(mask)
    rows = draw(geometry.num_rows(2), 18, dtype=dtype).requires_grad_()
    weight = draw(
        18, 18 // groups, *window.kernel, seed=1, dtype=dtype
    ).requires_grad_()
    # A strided convolution passes a gradient that is not contiguous.
    grad = draw(18, geometry.num_rows(2 * window.stride), dtype=dtype).t()
    out = table_conv(rows, weight, geometry, 2, window, groups, triton=True)
    out.backward(grad)
    inputs = [x.detach().double().requires_grad_() for x in (rows, weight)]
    expected = dense_conv(inputs[0], inputs[1], mask, 2, window, groups)
    expected.backward(grad.double())
    assert error(out.detach(), expected.detach()) < TOLERANCE[dtype]
    for actual, reference in zip((rows, weight), inputs, strict=True):
        assert actual.grad is not None and reference.grad is not None
        assert actual.grad.dtype == dtype
        assert error(actual.grad, reference.grad) < TOLERANCE[dtype]


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('window', STEMS)
def test_stem_equals_dense_conv(window: Window, dtype: torch.dtype) -> None:
    mask = draw_mask()
    geometry = Geometry(mask)
    rows = draw(geometry.num_rows(1), 3, dtype=dtype)
    weight = draw(20, 3, *window.kernel, seed=1, dtype=dtype).requires_grad_()
    assert fits_stem(rows, weight, geometry, 1, window)
    grad = draw(geometry.num_rows(2), 20, dtype=dtype)
    out = gather_conv(rows, weight, geometry, 1, window)
    out.backward(grad)
    reference = weight.detach().double().requires_grad_()
    expected = dense_conv(rows.double(), reference, mask, 1, window, 1)
    expected.backward(grad.double())
    assert out.dtype == dtype
    assert error(out.detach(), expected.detach()) < TOLERANCE[dtype]
    assert weight.grad is not None and reference.grad is not None
    assert error(weight.grad, reference.grad) < TOLERANCE[dtype]


def test_stem_leaves_what_it_does_not_serve() -> None:
    geometry = Geometry(draw_mask())
    rows, weight = draw(geometry.num_rows(4), 3), draw(8, 3, 7, 7)
    window = Window((7, 7), 2, (3, 3))
    # Units of 2x2 positions: the window reads beyond the next unit.
    assert not fits_stem(rows, weight, geometry, 4, window)
    rows = draw(geometry.num_rows(1), 3)
    assert fits_stem(rows, weight, geometry, 1, window)
    oblong = Window((7, 5), 2, (3, 2))
    assert not fits_stem(rows, weight[..., :5], geometry, 1, oblong)
    assert not fits_stem(rows.requires_grad_(), weight, geometry, 1, window)


def test_gradients_of_images_are_exact() -> None:
    mask, window = draw_mask(), Window((7, 7), 2, (3, 3))
    geometry = Geometry(mask)
    rows = draw(geometry.num_rows(1), 3).requires_grad_()
    weight = draw(20, 3, 7, 7, seed=1)
    out = gather_conv(rows, weight, geometry, 1, window)
    out.square().sum().backward()
    reference = rows.detach().double().requires_grad_()
    dense_conv(
        reference, weight.double(), mask, 1, window, 1
    ).square().sum().backward()
    assert rows.grad is not None and reference.grad is not None
    assert error(rows.grad, reference.grad) < TOLERANCE[torch.float32]


def test_results_repeat_bit_for_bit() -> None:
    rows, grad = draw(300, 20), draw(300, 24, seed=1)
    table = draw_table(300, 9, 300)
    first, second = (weight_gradient(rows, grad, table) for _ in range(2))
    assert torch.equal(first, second)
    first, second = (
        depthwise_weight_gradient(rows, grad[:, :20], table) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_operators_are_sound_under_tracing() -> None:
    table, rows, grad = draw_table(5, 9, 4), draw(4, 16), draw(5, 16)
    check = ('test_schema', 'test_faketensor', 'test_aot_dispatch_static')
    for operator, arguments in (
        (gather_gemm, (rows, draw(9, 16, 16), table)),
        (gather_depthwise, (rows, draw(9, 16), table)),
        (weight_gradient, (rows, grad, table)),
        (depthwise_weight_gradient, (rows, grad, table)),
    ):
        torch.library.opcheck(operator.operator, arguments, test_utils=check)
    around = torch.zeros(1, 9, dtype=torch.int32, device=DEVICE)
    shape = [8, 2, 3, 1, 1]
    image = draw(64, 3)
    for stem_operator, inputs in (
        (stem, (image, draw(16, 27), around, shape)),
        (stem_weight_gradient, (image, draw(16, 16), around, shape)),
    ):
        torch.library.opcheck(stem_operator.operator, inputs, test_utils=check)


def test_compiles_without_graph_break() -> None:
    torch.manual_seed(0)
    mask = draw_mask()
    images = draw(2, 3, 16, 24)
    first = nn.Conv2d(3, 16, 3, 2, 1).to(DEVICE)
    down = nn.Conv2d(16, 16, 3, 2, 1).to(DEVICE)
    depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16).to(DEVICE)

    def network(images: Tensor, ids: Tensor) -> Tensor:
        feature = PackedFeature.from_images(images, mask._replace(ids=ids))
        return feature.conv(first).conv(down).conv(depthwise).rows()

    with use_triton(False):
        expected = network(images, mask.ids)
        expected.square().sum().backward()
    parameters = [*first.parameters(), *down.parameters()]
    gradients = [x.grad for x in parameters]
    for parameter in parameters:
        parameter.grad = None
    operators: set[str] = set()

    def record(module: GraphModule, inputs: list[Tensor]) -> GraphModule:
        operators.update(str(node.target) for node in module.graph.nodes)
        return module

    compiled = torch.compile(
        network, backend=aot_autograd(fw_compiler=record), fullgraph=True
    )
    out = compiled(images, mask.ids)
    out.square().sum().backward()
    used = {name for name in operators if name.startswith('mmhgkd.')}
    names = (
        'stem',
        'stem_weight_gradient',
        'gather_gemm',
        'weight_gradient',
        'gather_depthwise',
        'depthwise_weight_gradient',
    )
    assert used == {f'mmhgkd.{name}.default' for name in names}
    assert error(out.detach(), expected.detach().double()) < 2e-6
    for parameter, reference in zip(parameters, gradients, strict=True):
        assert parameter.grad is not None and reference is not None
        assert error(parameter.grad, reference.double()) < 2e-6
