"""Focal losses, of each class against the rest and of one among all.

Arguments, by the names of MMCV:

- ``input``: logits, or for the softmax probabilities, ``(N, C)``.
- ``target``: class ids, ``(N, )`` int64. An id outside of the classes is
  background; a negative one is ignored by the softmax.
- ``weight``: weights of the classes, ``(C, )``, or empty.
- ``gamma``: focusing exponent; ``alpha``: weight of the positive class, for
  the softmax that of the loss.
- ``output`` of ``(N, C)``, for the softmax ``(N, )``, and ``grad_input`` are
  written in place.
"""

import torch
from torch import Tensor
from torch.nn import functional

from .provider import at_least_single


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Focal loss of each class against the rest (arXiv 1708.02002).

    With ``q`` the probability of the right answer, it is
    ``-a * (1 - q)**gamma * log(q)``, where ``a`` is ``alpha`` for the class
    of the target and ``1 - alpha`` for the others.
    """
    sign, scale = _sign_and_scale(input, target, weight, alpha)
    (logit,) = at_least_single(input)
    right = sign * logit
    output.copy_(
        -scale * (-right).sigmoid() ** gamma * functional.logsigmoid(right)
    )


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of each loss by its logit."""
    sign, scale = _sign_and_scale(input, target, weight, alpha)
    (logit,) = at_least_single(input)
    right = sign * logit
    wrong = (-right).sigmoid()
    slope = wrong - gamma * right.sigmoid() * functional.logsigmoid(right)
    grad_input.copy_(-sign * scale * wrong**gamma * slope)


def _sign_and_scale(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """+1 at the class of the target and -1 elsewhere; factor of the loss."""
    classes = torch.arange(input.size(1), device=input.device)
    positive = target[:, None] == classes
    (logit,) = at_least_single(input)
    scale = torch.where(positive, alpha, 1 - alpha).to(logit)
    if weight.numel():
        known = positive.any(dim=1, keepdim=True)
        of_target = weight[target.clamp(0, input.size(1) - 1)][:, None]
        scale = scale * torch.where(known, of_target, 1)
    return positive.to(logit) * 2 - 1, scale


def softmax_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Focal loss of the target class among all classes.

    With ``p`` the probability of the target, it is
    ``-alpha * (1 - p)**gamma * log(p)``.
    """
    right, wrong, scale = _of_target(input, target, weight, alpha)
    output.copy_(-scale * wrong**gamma * right.log())


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of each loss by its logits; ``buff`` is not used."""
    right, wrong, scale = _of_target(input, target, weight, alpha)
    slope = gamma * wrong ** (gamma - 1) * right * right.log() - wrong**gamma
    one_hot = functional.one_hot(target.clamp(min=0), input.size(1))
    grad_input.copy_((scale * slope)[:, None] * (one_hot - input))


def _of_target(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Probability of the target and of the rest; factor of the loss."""
    (probability,) = at_least_single(input)
    smallest = torch.finfo(probability.dtype).tiny
    index = target.clamp(min=0)
    right = probability.gather(1, index[:, None])[:, 0]
    scale = alpha * (target >= 0).to(right)
    if weight.numel():
        scale = scale * weight[index]
    # Neither a logarithm nor a power below 1 may become infinite.
    return right.clamp(min=smallest), (1 - right).clamp(min=smallest), scale
