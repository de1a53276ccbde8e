from typing import NamedTuple

import torch
from torch import Tensor

from mmhgkd.algorithms import HGKD
from mmhgkd.utils import ConfigError

SOURCES = ('output', 'error')


class Saliency(NamedTuple):
    """How strongly each visible unit drives one hidden token of an image."""

    #: Sum over the pixels of a unit of the gradient's magnitude, zero where
    #: masked, ``(B, rows, columns)``.
    units: Tensor
    #: Row and column of the token, ``(B, 2)`` int64.
    tokens: Tensor


def unit_saliency(
    model: HGKD, inputs: Tensor, draw: int = 0, source: str = 'output'
) -> Saliency:
    """Find the visible units that drive a hidden token of the student.

    A CNN has no attention to look at, but a gradient with respect to the
    image. The token is the hidden one nearest to the center of the image, so
    that it stays the same over a training; where no token is hidden, it is
    the one nearest to the center.

    Args:
        model (HGKD): The model, in evaluation mode.
        inputs (Tensor): Preprocessed images, ``(B, 3, H, W)``.
        draw (int): Number of the mask, see :meth:`HGKD.predict`.
            Defaults to 0.
        source (str): What is differentiated: 'output', the norm of the
            token, or 'error', its mean squared distance to the teacher's.
            Defaults to 'output'.

    Returns:
        Saliency: On the units of the mask.

    Raises:
        ConfigError: If ``source`` is unknown, or there is no decoder.
        ValueError: If the model is in training mode, where the images of a
            batch depend on each other.
    """
    if source not in SOURCES:
        raise ConfigError(
            f'saliency must be of {" or ".join(SOURCES)}, got {source!r}'
        )
    if model.training:
        raise ValueError(
            'saliency needs `model.eval()`: batch statistics '
            'would mix the images'
        )
    if model.neck is None:
        raise ConfigError(
            'saliency asks what drives a hidden token, which a model without '
            'a decoder has not: leave it out'
        )
    mask = model.mask.draw(len(inputs), *inputs.shape[2:], draw, inputs.device)
    visible = mask.visible(model.neck.out_stride)[:, 0]
    tokens = central_tokens(~visible)
    gradient = token_gradient(model, inputs, draw, tokens, source)
    side = (-1, mask.unit)
    blocks = gradient.abs().sum(1).unflatten(2, side).unflatten(1, side)
    return Saliency(blocks.sum(dim=(2, 4)), tokens)


def token_gradient(
    model: HGKD, inputs: Tensor, draw: int, tokens: Tensor, source: str
) -> Tensor:
    """Gradient of a token of each image by the image, ``(B, 3, H, W)``.

    ``tokens`` are their rows and columns, ``(B, 2)``; see
    :func:`unit_saliency` for the other arguments.
    """
    mask = model.mask.draw(len(inputs), *inputs.shape[2:], draw, inputs.device)
    images = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        grid = model.neck(model.backbone(images, mask))
        batch = torch.arange(len(images), device=images.device)
        row, column = tokens.unbind(1)
        student = grid[batch, :, row, column]
        if source == 'output':
            value = student.norm(dim=1)
        else:
            target = model.teacher(inputs, mask)
            teacher = target[batch, row * grid.size(3) + column]
            value = (student - teacher).square().mean(1)
        return torch.autograd.grad(value.sum(), images)[0]


def central_tokens(candidates: Tensor) -> Tensor:
    """Row and column, ``(B, 2)``, of the candidate nearest to the center.

    ``candidates`` are ``(B, h, w)`` bool.
    """
    height, width = candidates.shape[1:]
    device = candidates.device
    y = torch.arange(height, device=device) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    distance = (y[:, None] ** 2 + x**2).expand(candidates.shape)
    # Another token only where there is no candidate.
    distance = distance + height * width * (height + width) * ~candidates
    nearest = distance.flatten(1).argmin(1)
    return torch.stack([nearest // width, nearest % width], dim=1)
