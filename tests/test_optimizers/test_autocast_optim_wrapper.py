from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from mmhgkd.optimizers import AutocastOptimWrapper
from mmhgkd.utils import ConfigError

SCHEDULES = Path(__file__).parents[2] / 'configs' / '_base_' / 'schedules'


def build(model: nn.Module, **options: Any) -> Any:
    config: dict[str, Any] = dict(
        type='mmhgkd.AutocastOptimWrapper',
        optimizer=dict(type='SGD', lr=0.5),
        clip_grad=dict(max_norm=1.0),
    )
    return build_optim_wrapper(model, {**config, **options})


def test_step_is_that_of_plain_autocast() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(5, 3), torch.randn(4, 5)
    wrapper = build(model)
    assert isinstance(wrapper, AutocastOptimWrapper)
    weight = model.weight.detach().clone().requires_grad_()
    bias = model.bias.detach().clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        out = nn.functional.linear(x, weight, bias)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    norm = nn.utils.clip_grad_norm_([weight, bias], 1.0)
    with wrapper.optim_context(model):
        out = model(x)
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().square().sum())
    assert weight.grad is not None
    torch.testing.assert_close(
        model.weight, weight - 0.5 * weight.grad, rtol=0, atol=0
    )
    assert wrapper.last_norm == norm
    history = wrapper.message_hub.get_scalar('train/grad_norm')
    assert history.current() == pytest.approx(float(norm))
    # Outside everything is as it was.
    assert model(x).dtype == torch.float32


def test_gradients_accumulate() -> None:
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    wrapper = build(model, accumulative_counts=2)
    for index in range(2):
        with wrapper.optim_context(model):
            loss = model(torch.ones(1, 2)).float().sum()
        wrapper.update_params(loss)
        assert torch.equal(model.weight, before) == (index == 0)


def test_clipping_by_value_has_no_norm() -> None:
    model = nn.Linear(2, 1)
    wrapper = build(model, clip_grad=dict(type='value', clip_value=0.1))
    wrapper.update_params(model(torch.ones(1, 2)).sum())
    assert wrapper.last_norm is None


def test_resumes_a_run_with_a_scaler() -> None:
    model = nn.Linear(2, 1)
    state = build(model).state_dict()
    assert 'loss_scaler' not in state
    build(model).load_state_dict({**state, 'loss_scaler': dict(scale=65536)})


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(dtype='float16'), "type='AmpOptimWrapper'` for it"),
        (dict(dtype='float32'), "must be 'bfloat16', got 'float32'"),
        (dict(loss_scale='dynamic'), 'has no use in bfloat16'),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(nn.Linear(2, 1), **options)


@pytest.mark.parametrize(
    'name', ['lamb_300e', 'mae_300e', 'finetune_300e', 'linear_90e']
)
def test_recipes_take_it(name: str) -> None:
    config = Config.fromfile(SCHEDULES / f'{name}.py').optim_wrapper
    config.optimizer = dict(type='SGD', lr=0.1, weight_decay=0.1)
    wrapper = build_optim_wrapper(nn.Linear(2, 1), config)
    assert type(wrapper) is AutocastOptimWrapper
    assert isinstance(wrapper, OptimWrapper)
