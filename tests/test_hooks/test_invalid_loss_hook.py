import math
from types import SimpleNamespace

import pytest
import torch

from mmhgkd.hooks import InvalidLossHook


def runner(iteration: int) -> SimpleNamespace:
    return SimpleNamespace(
        iter=iteration,
        epoch=0,
        train_dataloader=range(100),
        work_dir='work_dirs/x')


def outputs(value: float) -> dict[str, torch.Tensor]:
    return dict(
        loss=torch.tensor(value),
        loss_feat=torch.tensor(1.0),
        pearson=torch.tensor(math.nan))


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_stops_with_the_mend(value: float) -> None:
    with pytest.raises(FloatingPointError) as error:
        InvalidLossHook(interval=1).after_train_iter(
            runner(6), 6, None, outputs(value))
    message = str(error.value)
    assert 'iteration 7' in message and 'optim_wrapper' in message
    assert "'loss':" in message
    # Neither a finite part nor a figure of the log is to blame.
    assert 'loss_feat' not in message and 'pearson' not in message


def test_finite_loss_goes_on() -> None:
    InvalidLossHook(interval=1).after_train_iter(
        runner(6), 6, None, outputs(1.0))


def test_checks_at_the_interval_and_before_the_checkpoint() -> None:
    hook = InvalidLossHook(interval=50)
    hook.after_train_iter(runner(6), 6, None, outputs(math.nan))
    for iteration in (49, 99):
        with pytest.raises(FloatingPointError):
            hook.after_train_iter(
                runner(iteration), iteration, None, outputs(math.nan))
