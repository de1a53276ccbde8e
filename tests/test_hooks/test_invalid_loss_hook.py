import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmpretrain.structures import DataSample

from mmhgkd.hooks import InvalidLossHook


def runner(iteration: int, work_dir: Path) -> SimpleNamespace:
    return SimpleNamespace(
        iter=iteration,
        epoch=0,
        rank=0,
        train_dataloader=range(100),
        work_dir=str(work_dir),
        max_iters=1000,
        model=torch.nn.BatchNorm1d(2),
        optim_wrapper=None,
        hooks=[],
    )


def outputs(value: float) -> dict[str, torch.Tensor]:
    return dict(
        loss=torch.tensor(value),
        loss_feat=torch.tensor(1.0),
        pearson=torch.tensor(math.nan),
    )


def batch(*names: str) -> dict:
    samples = [DataSample(metainfo=dict(img_path=name)) for name in names]
    return dict(inputs=torch.arange(len(names)), data_samples=samples)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_stops_with_the_mend(tmp_path: Path, value: float) -> None:
    with pytest.raises(FloatingPointError) as error:
        InvalidLossHook(interval=1).after_train_iter(
            runner(6, tmp_path), 6, None, outputs(value)
        )
    message = str(error.value)
    assert 'iteration 7' in message and 'optim_wrapper' in message
    assert "'loss':" in message
    # Neither a finite part nor a figure of the log is to blame.
    assert 'loss_feat' not in message and 'pearson' not in message


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_stops_at_a_gradient_that_is_not_finite(
    tmp_path: Path, value: float
) -> None:
    """It has spoiled the weights; the loss shows that a step later."""
    state = runner(6, tmp_path)
    state.optim_wrapper = SimpleNamespace(last_norm=torch.tensor(value))
    with pytest.raises(FloatingPointError, match='norm of the gradient'):
        InvalidLossHook(interval=1).after_train_iter(
            state, 6, None, outputs(1.0)
        )
    state.optim_wrapper.last_norm = torch.tensor(3.0)
    InvalidLossHook(interval=1).after_train_iter(state, 6, None, outputs(1.0))


def test_finite_loss_goes_on(tmp_path: Path) -> None:
    InvalidLossHook(interval=1).after_train_iter(
        runner(6, tmp_path), 6, None, outputs(1.0)
    )


def test_checks_at_the_interval_and_before_the_checkpoint(
    tmp_path: Path,
) -> None:
    hook = InvalidLossHook(interval=50)
    hook.after_train_iter(runner(6, tmp_path), 6, None, outputs(math.nan))
    for iteration in (49, 99):
        with pytest.raises(FloatingPointError):
            hook.after_train_iter(
                runner(iteration, tmp_path), iteration, None, outputs(math.nan)
            )


def test_last_step_counts(tmp_path: Path) -> None:
    """Also where the loop counts no epochs."""
    hook = InvalidLossHook(interval=50)
    with pytest.raises(FloatingPointError):
        hook.after_train_iter(
            runner(999, tmp_path), 999, None, outputs(math.nan)
        )


def test_asked_before_a_checkpoint(tmp_path: Path) -> None:
    hook = InvalidLossHook(interval=50)
    run: Any = runner(6, tmp_path)
    hook.after_train_iter(run, 6, None, outputs(math.nan))
    with pytest.raises(FloatingPointError, match='at iteration 7'):
        hook.check_losses(run)


def broken_variance(run: Any) -> str:
    run.model.running_var[0] = math.inf
    return 'running_var is not finite'


def broken_gradient(run: Any) -> str:
    run.model.weight.grad = torch.tensor([0.0, math.nan])
    return 'the gradient of weight is not finite'


def broken_optimizer(run: Any) -> str:
    """The square of a gradient overflows: the weight would never change."""
    optimizer = torch.optim.Adam(run.model.parameters())
    for parameter in run.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e25)
    optimizer.step()
    optimizer.zero_grad()
    run.optim_wrapper = SimpleNamespace(optimizer=optimizer)
    return 'exp_avg_sq of the optimizer for weight and 1 more'


@pytest.mark.parametrize(
    'breaks', [broken_variance, broken_gradient, broken_optimizer]
)
def test_looks_at_what_the_step_leaves_behind(
    tmp_path: Path, breaks: Callable[[Any], str]
) -> None:
    run: Any = runner(6, tmp_path)
    hook = InvalidLossHook(interval=1)
    hook.before_run(run)
    hook.after_train_iter(run, 6, None, outputs(1.0))
    message = breaks(run)
    with pytest.raises(FloatingPointError, match=message):
        hook.after_train_iter(run, 6, None, outputs(1.0))


def test_buffer_that_is_infinite_on_purpose(tmp_path: Path) -> None:
    run: Any = runner(6, tmp_path)
    run.model.register_buffer('mask', torch.tensor([0.0, -math.inf]))
    hook = InvalidLossHook(interval=1)
    hook.before_run(run)
    hook.after_train_iter(run, 6, None, outputs(1.0))


def test_waits_once_an_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def watch(name: str) -> None:
        plain = getattr(torch.Tensor, name)

        def read(x: torch.Tensor) -> object:
            reads.append(name)
            return plain(x)

        monkeypatch.setattr(torch.Tensor, name, read)

    for name in ('item', 'tolist', '__bool__', '__float__'):
        watch(name)
    hook = InvalidLossHook(interval=4)
    for iteration in range(4):
        state = runner(iteration, tmp_path)
        hook.after_train_iter(state, iteration, None, outputs(1.0))
    # Once for the losses of all steps, once for what the last one has left.
    assert reads == ['tolist', '__bool__']


def test_names_and_dumps_the_first_bad_batch(tmp_path: Path) -> None:
    """Not the one at which the check takes place."""
    hook = InvalidLossHook(interval=4)
    for iteration in range(3):
        value = math.inf if iteration == 1 else 1.0
        hook.after_train_iter(
            runner(iteration, tmp_path),
            iteration,
            batch(f'{iteration}a.jpg', f'{iteration}b.jpg'),
            outputs(value),
        )
    with pytest.raises(FloatingPointError) as error:
        hook.after_train_iter(
            runner(3, tmp_path), 3, batch('3a.jpg'), outputs(math.nan)
        )
    assert 'iteration 2 ' in str(error.value)
    assert '1a.jpg, 1b.jpg' in str(error.value)
    dump = torch.load(tmp_path / 'invalid_loss_rank0.pth')
    assert dump['files'] == ['1a.jpg', '1b.jpg']
    assert dump['iteration'] == 2 and dump['losses']['loss'] == math.inf
    assert dump['inputs'] is None


def test_dumps_the_inputs_of_the_batch_at_hand(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        InvalidLossHook(interval=1).after_train_iter(
            runner(0, tmp_path), 0, batch('a.jpg', 'b.jpg'), outputs(math.nan)
        )
    dump = torch.load(tmp_path / 'invalid_loss_rank0.pth')
    assert dump['inputs'].tolist() == [0, 1]
