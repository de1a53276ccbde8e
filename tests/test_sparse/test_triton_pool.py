"""Max-pooling by the Triton kernels against dense max-pooling in float64."""

import os

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmhgkd.masks import UnitMask
from mmhgkd.sparse import packed_pool
from mmhgkd.sparse.geometry import Geometry
from mmhgkd.sparse.rows import dense_to_rows
from mmhgkd.sparse.window import Window

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip(
        'test_triton_dispatch.py runs this file under the interpreter',
        allow_module_level=True,
    )

# Not before the skip: it imports Triton.
from mmhgkd.sparse.triton.max_pool import (  # noqa: E402
    max_pool,
    max_pool_gradient,
)

DEVICE = 'cpu' if INTERPRETED else 'cuda'
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]
MASK = UnitMask(torch.tensor([[4, 0, 3], [5, 1, 2]], device=DEVICE), 2, 3, 8)
WINDOWS = [
    Window((3, 3), 2, (1, 1)),
    Window((3, 3), 1, (1, 1)),
    Window((3, 5), 1, (1, 2)),
    Window((2, 2), 2),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE)


def pool(maps: Tensor, window: Window) -> Tensor:
    return F.max_pool2d(maps, window.kernel, window.stride, window.padding)


@pytest.mark.parametrize('equals', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('window', WINDOWS)
def test_equals_dense_pooling(
    window: Window, dtype: torch.dtype, equals: bool
) -> None:
    # Most are negative, so that masked zeros win beside them.
    maps = (draw(2, 20, 8, 12) - 1).to(dtype) * MASK.visible(2)
    if equals:
        maps = maps.sign().clamp(0)
    out_stride = 2 * window.stride
    leaf = maps.double().requires_grad_()
    dense = dense_to_rows(pool(leaf, window), MASK, out_stride)
    rows = dense_to_rows(maps, MASK, 2).requires_grad_()
    out = packed_pool.max_pool(rows, Geometry(MASK), 2, window)
    assert out.dtype == dtype
    assert torch.equal(out.double(), dense)
    # Small whole numbers have exact sums.
    grad = draw(*out.shape, seed=1).mul(4).round()
    dense.backward(grad.double())
    assert leaf.grad is not None
    out.backward(grad.to(dtype))
    assert rows.grad is not None
    expected = dense_to_rows(leaf.grad, MASK, 2)
    assert torch.equal(rows.grad.double(), expected)


def test_passes_nan_on() -> None:
    rows = draw(96, 4)
    rows[5] = torch.nan
    out = packed_pool.max_pool(rows, Geometry(MASK), 2, WINDOWS[0])
    assert out.isnan().any(0).all()


def test_operators_are_sound_under_tracing() -> None:
    geometry = Geometry(MASK)
    rows = draw(geometry.num_rows(2), 4)
    table = geometry.table(2, WINDOWS[0], mark_outside=True)
    out, chosen = max_pool(rows, table)
    assert chosen.dtype == torch.int8
    phases = geometry.phases(2, WINDOWS[0])
    tables = [phase.table for phase in phases]
    taps = [tap for phase in phases for tap in phase.taps]
    check = ('test_schema', 'test_faketensor', 'test_aot_dispatch_static')
    for operator, arguments in (
        (max_pool, (rows, table)),
        (max_pool_gradient, (out, chosen, tables, taps, 4, 2)),
    ):
        torch.library.opcheck(operator.operator, arguments, test_utils=check)
