import os
from typing import Any

import pytest
import torch
from ranks import run_ranks
from timm import layers as timm_layers
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.masks import UnitMask
from mmhgkd.sparse import (
    DistributedBatchNorm,
    PackedFeature,
    TorchPackedFeature,
    layers,
)
from mmhgkd.sparse.geometry import Geometry
from mmhgkd.sparse.triton import use_triton

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip(
        'test_triton_dispatch.py runs this file under the interpreter',
        allow_module_level=True,
    )

# Not before the skip: these import Triton.
from mmhgkd.sparse.triton.norm_act import norm_act  # noqa: E402
from mmhgkd.sparse.triton.norm_kernels import (  # noqa: E402
    apply_norm,
    norm_gradient,
    norm_gradient_sums,
)
from mmhgkd.sparse.triton.row_statistics import row_statistics  # noqa: E402

DEVICE = 'cpu' if INTERPRETED else 'cuda'
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]
TOLERANCE = {torch.float32: 3e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def draw(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    difference = (actual.double() - expected.double()).norm()
    scale = expected.double().norm().clamp(min=1e-12)
    return float((difference / scale).detach())


def batch_norm(
    kind: type[_BatchNorm], channels: int, **kwargs: Any
) -> _BatchNorm:
    module = kind(channels, **kwargs)
    with torch.no_grad():
        if module.affine:
            module.weight.copy_(torch.linspace(0.5, 2, channels))
            module.bias.copy_(torch.linspace(-1, 1, channels))
        if module.running_mean is not None and module.running_var is not None:
            module.running_mean.fill_(4)
            module.running_var.fill_(7)
    return module.to(DEVICE)


def outcome(
    out: Tensor, grad: Tensor, *inputs: Tensor | None, module: _BatchNorm
) -> dict[str, Any]:
    """Output, all gradients and the running statistics."""
    out.backward(grad.to(out.dtype))
    result: dict[str, Any] = dict(out=out.detach())
    result |= {
        f'input {index}': x.grad
        for index, x in enumerate(inputs)
        if x is not None
    }
    result |= {name: x.grad for name, x in module.named_parameters()}
    return result | dict(module.named_buffers())


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('added', ['residual', 'to scaled', None])
@pytest.mark.parametrize('relu', [True, False])
@pytest.mark.parametrize('size', [(301, 20), (33, 130)])
def test_equals_batch_norm(
    size: tuple[int, int],
    relu: bool,
    added: str | None,
    training: bool,
    dtype: torch.dtype,
) -> None:
    grad = draw(*size, seed=1, dtype=dtype)
    # As many images, of 43 and 11 rows.
    factors = torch.tensor([1, 0, 1 / 0.95, 1, 1 / 0.95, 0, 1], device=DEVICE)
    factor = factors[: size[0] // 43 or 3] if added == 'to scaled' else None
    results = []
    for kind, precision in (
        (DistributedBatchNorm, dtype),
        (nn.BatchNorm1d, torch.float64),
    ):
        module = batch_norm(kind, size[1]).train(training)
        # A fixed dtype first, so that both see the same rounded numbers.
        rows = (draw(*size) * 3 + 5).to(dtype).to(precision).requires_grad_()
        residual = None
        if added:
            residual = (
                draw(*size, seed=2, dtype=dtype).to(precision).requires_grad_()
            )
        if kind is DistributedBatchNorm:
            out = norm_act(module, rows, residual, relu, factor)
            assert out.dtype == dtype
        else:
            out = module.double()(rows)
            if factor is not None:
                scale = factor.double().repeat_interleave(
                    len(rows) // len(factor)
                )
                out = out * scale[:, None]
            out = out if residual is None else out + residual
            out = out.relu() if relu else out
        results.append(outcome(out, grad, rows, residual, module=module))
    actual, expected = results
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert error(actual[name], value) < TOLERANCE[dtype], name


@pytest.mark.parametrize(
    'kwargs',
    [dict(momentum=None), dict(affine=False), dict(track_running_stats=False)],
)
def test_options_of_batch_norm(kwargs: dict) -> None:
    module = batch_norm(DistributedBatchNorm, 20, **kwargs)
    reference = batch_norm(nn.BatchNorm1d, 20, **kwargs)
    for step in range(2):
        rows = draw(50, 20) * 3 + step
        assert error(norm_act(module, rows), reference(rows)) < 1e-6
    for name, value in reference.named_buffers():
        assert error(dict(module.named_buffers())[name], value) < 1e-6, name
    rows = draw(50, 20, seed=3)
    assert error(norm_act(module.eval(), rows), reference.eval()(rows)) < 1e-6


def test_statistics_survive_a_large_mean() -> None:
    rows = draw(1100, 5) + 10000
    mean, variance = row_statistics(rows)
    assert error(mean, rows.double().mean(0)) < 1e-7
    expected = rows.double().var(0, correction=0)
    assert error(variance, expected) < 1e-3


def test_a_factor_keeps_the_mean_in_half_precision() -> None:
    # The interpreter cuts bfloat16 off instead of rounding it.
    rows = (draw(4000, 16).abs() + 1).half()
    module = batch_norm(DistributedBatchNorm, 16, affine=False, eps=0).eval()
    module.reset_running_stats()
    factor = torch.full((4,), 1 / 0.97, device=DEVICE)
    out = norm_act(module, rows, torch.zeros_like(rows), factor=factor)
    # In float16 it would be 1.03125.
    mean = out.double().mean() / rows.double().mean()
    assert abs(mean - 1 / 0.97) < 5e-5


def test_relu_passes_nan_on() -> None:
    rows = draw(8, 3)
    rows[2, 1] = float('nan')
    out = norm_act(batch_norm(DistributedBatchNorm, 3), rows, relu=True)
    assert out[:, 1].isnan().all()
    assert not out[:, 0].isnan().any()


def test_packed_feature_normalizes_by_the_kernels() -> None:
    mask = UnitMask(torch.tensor([[0, 3]], device=DEVICE), 2, 2, 4)
    feature = PackedFeature(draw(32, 6), Geometry(mask))
    module = batch_norm(DistributedBatchNorm, 6)
    out = feature.norm(module).rows()
    assert '_NormAct' in type(out.grad_fn).__name__
    plain = TorchPackedFeature(draw(32, 6), Geometry(mask, triton=False))
    assert '_NormAct' not in type(plain.norm(module).rows().grad_fn).__name__
    with use_triton(False):
        expected = feature.norm(module).rows()
    assert '_NormAct' not in type(expected.grad_fn).__name__
    assert error(out, expected) < 1e-6


def test_packed_feature_fuses_norm_residual_and_relu() -> None:
    mask = UnitMask(torch.tensor([[0, 3]], device=DEVICE), 2, 2, 4)
    feature, residual = (
        PackedFeature(draw(32, 6, seed=seed), Geometry(mask))
        for seed in range(2)
    )
    module = batch_norm(DistributedBatchNorm, 6)
    for drop_path in (None, timm_layers.DropPath(0.5)):
        results = []
        for enabled in (True, False):
            torch.manual_seed(0)
            with use_triton(enabled):
                out = layers.norm_act(
                    feature, module, nn.ReLU(), residual, drop_path
                ).rows()
            assert ('_NormAct' in type(out.grad_fn).__name__) == enabled
            results.append(out)
        assert error(*results) < 1e-6
    for act in (nn.ReLU6(), nn.GELU()):
        out = layers.norm_act(feature, module, act).rows()
        assert '_NormAct' not in type(out.grad_fn).__name__
        assert error(out, act(feature.norm(module).rows())) < 1e-6


def test_results_repeat_bit_for_bit() -> None:
    rows, grad = draw(300, 20), draw(300, 20, seed=1)
    first, second = (row_statistics(rows) for _ in range(2))
    assert torch.equal(first, second)
    statistics = draw(2, 20).abs()
    first, second = (
        norm_gradient_sums(grad, rows, rows, None, statistics, 0)
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_operators_are_sound_under_tracing() -> None:
    rows, grad = draw(5, 16), draw(5, 16, seed=1)
    both, weight = draw(2, 16).abs(), draw(16)
    check = ('test_schema', 'test_faketensor', 'test_aot_dispatch_static')
    for operator, arguments in (
        (row_statistics, (rows,)),
        (apply_norm, (rows, both, weight, weight, 0.1, grad, draw(5), True)),
        (apply_norm, (rows, both, None, None, 0.1, None, None, False)),
        (norm_gradient_sums, (grad, rows, rows, None, both, 0.1)),
        (
            norm_gradient,
            (grad, rows, None, None, both, None, 0.1, None, 5, False),
        ),
        (
            norm_gradient,
            (grad, rows, rows, draw(5), both, weight, 0.1, both, 5, True),
        ),
    ):
        torch.library.opcheck(operator.operator, arguments, test_utils=check)


def test_compiles_without_graph_break() -> None:
    results = []
    for compiled in (False, True):
        module = batch_norm(DistributedBatchNorm, 16)
        rows, residual = (
            draw(40, 16, seed=seed).requires_grad_() for seed in range(2)
        )

        def layer(
            rows: Tensor, residual: Tensor, module: _BatchNorm = module
        ) -> Tensor:
            return norm_act(module, rows, residual, True)

        function = (
            torch.compile(layer, backend='aot_eager', fullgraph=True)
            if compiled
            else layer
        )
        results.append(
            outcome(
                function(rows, residual),
                draw(40, 16, seed=2),
                rows,
                residual,
                module=module,
            )
        )
    for name, value in results[0].items():
        assert torch.equal(results[1][name], value), name


def half(rank: int) -> dict[str, Tensor]:
    part = slice(rank * 10, rank * 10 + 10)
    module = batch_norm(DistributedBatchNorm, 6)
    rows = (draw(20, 6) * 3 + 5)[part].requires_grad_()
    residual = draw(20, 6, seed=2)[part].requires_grad_()
    return outcome(
        norm_act(module, rows, residual, True),
        draw(20, 6, seed=1)[part],
        rows,
        residual,
        module=module,
    )


def test_two_ranks_equal_one_process() -> None:
    halves = run_ranks(half)
    module = batch_norm(nn.BatchNorm1d, 6).double()
    rows = (draw(20, 6) * 3 + 5).double().requires_grad_()
    residual = draw(20, 6, seed=2).double().requires_grad_()
    expected = outcome(
        (module(rows) + residual).relu(),
        draw(20, 6, seed=1),
        rows,
        residual,
        module=module,
    )
    for name, value in expected.items():
        first, second = (result[name] for result in halves)
        if name in ('out', 'input 0', 'input 1'):
            actual = torch.cat([first, second])
        elif name in ('weight', 'bias'):
            actual = first + second
        else:
            assert torch.equal(first, second)
            actual = first
        assert error(actual, value) < 3e-6, name
