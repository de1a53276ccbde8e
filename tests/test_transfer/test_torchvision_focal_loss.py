"""Focal losses against their formula and its derivative by autograd."""

import pytest
import torch
from mmcv.ops import SigmoidFocalLoss, SoftmaxFocalLoss
from torch import Tensor, nn
from torch.autograd import gradcheck


def logits_of(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64) * 3
    return logits.to(dtype).requires_grad_()


CLASS_WEIGHT = torch.tensor([0.5, 2.0, 1.5, 0.1], dtype=torch.float64)
# 4 is the background of a head with sigmoids.
SIGMOID_TARGET = torch.tensor([0, 1, 4, 3, 2, 4])
SOFTMAX_TARGET = torch.tensor([0, 1, -1, 3, 2, 2])
SETTINGS = [(2.0, 0.25), (0.0, 1.0), (0.5, 0.75), (1.0, 0.5)]


def sigmoid_loss(
    logits: Tensor, gamma: float, alpha: float, weight: Tensor | None
) -> Tensor:
    rows = []
    for row, target in zip(logits, SIGMOID_TARGET.tolist(), strict=True):
        factor = weight[target] if weight is not None and target < 4 else 1
        for c, logit in enumerate(row):
            p = 1 / (1 + torch.exp(-logit))
            if c == target:
                loss = -alpha * (1 - p) ** gamma * torch.log(p)
            else:
                loss = -(1 - alpha) * p**gamma * torch.log(1 - p)
            rows.append(factor * loss)
    return torch.stack(rows).view_as(logits)


def softmax_loss(
    logits: Tensor, gamma: float, alpha: float, weight: Tensor | None
) -> Tensor:
    rows = []
    for row, target in zip(logits, SOFTMAX_TARGET.tolist(), strict=True):
        if target < 0:
            rows.append(row.sum() * 0)
            continue
        p = torch.exp(row[target]) / torch.exp(row).sum()
        factor = weight[target] if weight is not None else 1
        rows.append(-factor * alpha * (1 - p) ** gamma * torch.log(p))
    return torch.stack(rows)


LOSSES = [
    (SigmoidFocalLoss, sigmoid_loss, SIGMOID_TARGET),
    (SoftmaxFocalLoss, softmax_loss, SOFTMAX_TARGET),
]


@pytest.mark.parametrize('weight', [None, CLASS_WEIGHT])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize(('gamma', 'alpha'), SETTINGS)
@pytest.mark.parametrize('loss', LOSSES)
def test_loss_and_gradient(
    loss: tuple,
    gamma: float,
    alpha: float,
    reduction: str,
    weight: Tensor | None,
) -> None:
    kind, formula, target = loss
    logits = logits_of()
    expected = formula(logits, gamma, alpha, weight).sum()
    if reduction == 'mean':
        expected = expected / len(logits)
    value = kind(gamma, alpha, weight, reduction)(logits, target)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    (theirs,) = torch.autograd.grad(3 * expected, logits)
    (ours,) = torch.autograd.grad(3 * value, logits)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert theirs.abs().sum() > 0.1


@pytest.mark.parametrize('loss', LOSSES)
def test_single_losses(loss: tuple) -> None:
    kind, formula, target = loss
    value = kind(2.0, 0.25, None, 'none')(logits_of(), target)
    torch.testing.assert_close(
        value, formula(logits_of(), 2.0, 0.25, None), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize('loss', LOSSES)
def test_gradcheck(loss: tuple) -> None:
    kind, _, target = loss
    layer: nn.Module = kind(2.0, 0.25, CLASS_WEIGHT)
    assert gradcheck(lambda x: layer(x, target), logits_of())


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('loss', LOSSES)
def test_certain_answers_stay_finite(loss: tuple, gamma: float) -> None:
    kind = loss[0]
    logits = torch.tensor(
        [[200.0, -200.0], [-200.0, 200.0]], requires_grad=True
    )
    for target, is_right in (([0, 1], True), ([1, 0], False)):
        value = kind(gamma, 0.25)(logits, torch.tensor(target))
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient.isfinite().all()
        assert value < 1e-3 if is_right else value > 10


@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16]
)
def test_precisions_are_rounded_once(dtype: torch.dtype) -> None:
    logits = logits_of(dtype)
    value = SigmoidFocalLoss(2.0, 0.25, reduction='none')(
        logits, SIGMOID_TARGET
    )
    expected = sigmoid_loss(logits.double(), 2.0, 0.25, None)
    assert value.dtype == dtype
    torch.testing.assert_close(
        value.double(), expected, rtol=torch.finfo(dtype).eps * 8, atol=1e-7
    )
