import copy
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmpretrain.engine.optimizers import Lamb as ReferenceLamb
from torch import Tensor, nn

from mmhgkd.optimizers import Lamb

SHAPES = [(4, 3, 3, 3), (7,), (5, 4), (1,), (6, 2)]
ZERO, WITHOUT_GRADIENT = 2, 4


@pytest.fixture(autouse=True)
def fp64() -> Iterator[None]:
    # The reference sums the squares for its clipping in the default dtype.
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    result = [
        nn.Parameter(torch.randn(shape, generator=generator))
        for shape in SHAPES
    ]
    nn.init.zeros_(result[ZERO])
    return result


def groups(params: list[nn.Parameter]) -> list[dict]:
    return [
        dict(params=params[:2]),
        dict(params=params[2:3], lr=3e-3, weight_decay=0.3),
        dict(params=params[3:4], weight_decay=0.0),
        dict(params=params[4:], betas=(0.5, 0.6)),
    ]


def set_gradients(params: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step + 1)
    for index, parameter in enumerate(params):
        gradient = torch.randn(parameter.shape, generator=generator)
        # Without weight decay its update is zero, too.
        if index == 0 and step == 0:
            gradient.zero_()
        parameter.grad = None if index == WITHOUT_GRADIENT else gradient


def train(
    optimizer: Any, params: list[nn.Parameter], steps: range
) -> list[Tensor]:
    for step in steps:
        set_gradients(params, step)
        optimizer.step()
    return [parameter.detach().clone() for parameter in params]


def assert_equal(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for x, y in zip(actual, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(max_grad_norm=1e3),
        dict(bias_correction=False, grad_averaging=False),
        dict(trust_clip=True, lr=0.1),
        dict(always_adapt=True, weight_decay=0.0),
        dict(betas=(0.9, 0.95), eps=1e-3),
    ],
    ids=str,
)
def test_equals_mmpretrain(options: dict) -> None:
    ours, theirs = parameters(), parameters()
    actual = train(Lamb(groups(ours), **options), ours, range(6))
    expected = train(
        ReferenceLamb(groups(theirs), **options), theirs, range(6)
    )
    assert_equal(actual, expected)
    for index, (after, before) in enumerate(
        zip(actual, parameters(), strict=True)
    ):
        assert torch.equal(after, before) == (index == WITHOUT_GRADIENT)


def test_no_clipping_leaves_gradients_alone() -> None:
    params = parameters()
    set_gradients(params, 1)
    before = {
        index: p.grad.clone()
        for index, p in enumerate(params)
        if p.grad is not None
    }
    Lamb(params, max_grad_norm=None).step()
    for index, gradient in before.items():
        torch.testing.assert_close(
            params[index].grad, gradient, rtol=0, atol=0
        )
    reference = parameters()
    set_gradients(reference, 1)
    ReferenceLamb(reference, max_grad_norm=float('inf')).step()
    assert_equal(params, reference)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = parameters(), parameters()
    expected = train(Lamb(whole), whole, range(3))
    monkeypatch.setattr('mmhgkd.optimizers.lamb.CHUNK', 8)
    assert_equal(train(Lamb(cut), cut, range(3)), expected)


@pytest.mark.parametrize('source', [Lamb, ReferenceLamb])
def test_resumed_run_goes_on_identically(source: type) -> None:
    whole, halved = parameters(), parameters()
    optimizer = source(groups(whole))
    train(optimizer, whole, range(3))
    with torch.no_grad():
        for mine, theirs in zip(halved, whole, strict=True):
            mine.copy_(theirs)
    resumed = Lamb(groups(halved))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert_equal(
        train(resumed, halved, range(3, 6)),
        train(optimizer, whole, range(3, 6)),
    )


def test_closure_is_evaluated_with_gradients() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = Lamb([parameter])

    def closure() -> Tensor:
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    assert (parameter < 1).all()


def test_in_a_wrapper_with_schedules() -> None:

    def run(kind: str) -> tuple[list[Tensor], list[float]]:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(36, 2),
        )
        wrapper = build_optim_wrapper(
            model,
            dict(
                optimizer=dict(type=kind, lr=0.02, weight_decay=0.04),
                clip_grad=dict(max_norm=0.1),
                paramwise_cfg=dict(
                    bias_decay_mult=0.0,
                    norm_decay_mult=0.0,
                    custom_keys={'4': dict(lr_mult=0.5)},
                ),
            ),
        )
        schedule = PARAM_SCHEDULERS.build(
            dict(
                type='CosineAnnealingWeightDecay',
                eta_min=0.2,
                T_max=4,
                by_epoch=False,
            ),
            default_args=dict(optimizer=wrapper),
        )
        for _ in range(4):
            wrapper.update_params(
                model(torch.randn(2, 3, 5, 5)).square().sum()
            )
            schedule.step()
        decays = [group['weight_decay'] for group in wrapper.param_groups]
        return [p.detach() for p in model.parameters()], decays

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        actual, decays = run('mmhgkd.Lamb')
        expected, reference_decays = run('Lamb')
    assert_equal(actual, expected)
    assert decays == reference_decays
    assert sorted(set(decays)) == pytest.approx([0, 0.2])


def test_sparse_gradients_are_refused() -> None:
    embedding = nn.Embedding(3, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match='sparse=False'):
        Lamb(embedding.parameters()).step()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(betas=(0.9, 1.0)), 'betas'),
        (dict(max_grad_norm=0), 'max_grad_norm'),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lamb(parameters(), **options)
