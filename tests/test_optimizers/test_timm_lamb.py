from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from timm.optim import Lamb
from torch import Tensor, nn

from mmhgkd.registry import OPTIMIZERS

SCHEDULES = Path(__file__).parents[2] / 'configs' / '_base_' / 'schedules'
SHAPES = [(4, 3, 3, 3), (7,), (5, 4), (1,), (6, 2)]
ZERO, WITHOUT_GRADIENT, WITHOUT_DECAY = 2, 4, 3


def configured(name: str) -> dict[str, Any]:
    cfg = Config.fromfile(SCHEDULES / f'{name}.py')
    return cfg.optim_wrapper.optimizer.to_dict()


def naive_lamb(
    params: list[Tensor],
    gradients: list[list[Tensor | None]],
    lr: float,
    weight_decays: list[float],
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    max_grad_norm: float | None = 1.0,
    bias_correction: bool = True,
    trust_clip: bool = False,
) -> list[Tensor]:
    """Algorithm 2 of arXiv 1904.00962, in the way of NVLAMB."""
    params = [p.clone() for p in params]
    first = [torch.zeros_like(p) for p in params]
    second = [torch.zeros_like(p) for p in params]
    for step, grads in enumerate(gradients, 1):
        norm = sqrt(
            sum(g.square().sum().item() for g in grads if g is not None)
        )
        excess = 1.0 if max_grad_norm is None else max(1, norm / max_grad_norm)
        for index, grad in enumerate(grads):
            if grad is None:
                continue
            g = grad / excess
            first[index] = betas[0] * first[index] + (1 - betas[0]) * g
            second[index] = betas[1] * second[index] + (1 - betas[1]) * g**2
            m, v = first[index], second[index]
            if bias_correction:
                m = m / (1 - betas[0] ** step)
                v = v / (1 - betas[1] ** step)
            update = m / (v.sqrt() + eps)
            ratio = 1.0
            if weight_decays[index]:
                update = update + weight_decays[index] * params[index]
                norms = params[index].norm().item(), update.norm().item()
                ratio = norms[0] / norms[1] if all(norms) else 1.0
                ratio = min(ratio, 1) if trust_clip else ratio
            params[index] = params[index] - lr * ratio * update
    return params


@pytest.mark.parametrize(
    'options',
    [
        configured('lamb_300e'),
        configured('finetune_300e'),
        dict(type='mmhgkd.TimmLamb', lr=0.1, trust_clip=True, foreach=True),
        dict(
            type='mmhgkd.TimmLamb',
            lr=1e-3,
            bias_correction=False,
            eps=1e-3,
            foreach=True,
        ),
    ],
    ids=['pretrain', 'finetune', 'trust_clip', 'no_bias_correction'],
)
def test_equals_the_written_form(options: dict[str, Any]) -> None:
    assert options['type'] == 'mmhgkd.TimmLamb'
    assert options['foreach'] is True
    generator = torch.Generator().manual_seed(0)

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    start = [draw(shape) for shape in SHAPES]
    start[ZERO].zero_()
    gradients: list[list[Tensor | None]] = [
        [draw(shape) for shape in SHAPES] for _ in range(6)
    ]
    for grads in gradients:
        grads[WITHOUT_GRADIENT] = None
    gradients[0][0] = torch.zeros(SHAPES[0], dtype=torch.float64)

    params = [nn.Parameter(p.clone()) for p in start]
    groups = [
        dict(params=params[:WITHOUT_DECAY]),
        dict(params=params[WITHOUT_DECAY:], weight_decay=0.0),
    ]
    optimizer = OPTIMIZERS.build(dict(options, params=groups))
    assert type(optimizer) is Lamb
    for grads in gradients:
        for parameter, grad in zip(params, grads, strict=True):
            parameter.grad = None if grad is None else grad.clone()
        optimizer.step()

    settings = {
        key: value
        for key, value in options.items()
        if key not in ('type', 'foreach', 'weight_decay')
    }
    decay = options.get('weight_decay', 0.01)
    decays = [decay] * WITHOUT_DECAY + [0.0] * (len(SHAPES) - WITHOUT_DECAY)
    expected = naive_lamb(start, gradients, weight_decays=decays, **settings)
    for index, (actual, wanted) in enumerate(
        zip(params, expected, strict=True)
    ):
        torch.testing.assert_close(actual.data, wanted, rtol=0, atol=1e-12)
        moved = not torch.equal(wanted, start[index])
        assert moved == (index != WITHOUT_GRADIENT)


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmengine'])
def test_is_found_in_every_scope(scope: str) -> None:
    with DefaultScope.overwrite_default_scope(scope):
        wrapper = build_optim_wrapper(
            nn.Linear(2, 2), dict(optimizer=dict(type='mmhgkd.TimmLamb'))
        )
    assert type(wrapper.optimizer) is Lamb
