"""Deformable convolution v1 (arXiv 1703.06211) and v2 (arXiv 1811.11168).

Arguments, by the names of MMCV:

- ``input``: feature map, ``(B, C, H, W)``; ``weight``:
  ``(O, C / group, kH, kW)``; ``bias``: ``(O, )``, empty without one.
- ``offset``: shifts (y, x) of the samples in positions,
  ``(B, 2 * deformable_group * kH * kW, H', W')``; ``mask``: their factors,
  ``(B, deformable_group * kH * kW, H', W')``.
- ``output`` of ``(B, O, H', W')`` and the arguments ``grad_*`` of the inputs
  are written in place.
- Scratch memory, and what the shapes say, is not used.

MMCV's v2 has no check of the size of ``offset`` and ``mask``. Of larger ones
it reads the first values of each image, as if they had the output's size;
MMDetection's DyHead was trained with this, so it is the same here.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import ops

from .provider import at_least_single

Geometry = dict[str, tuple[int, int]]


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    *scratch: Tensor,
    **options: Any,
) -> None:
    """Output of v1."""
    input, offset, weight = at_least_single(input, offset, weight)
    output.copy_(
        ops.deform_conv2d(input, offset, weight, **_geometry(options))
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    *scratch: Tensor,
    **options: Any,
) -> None:
    """Gradients of the input and the offset of v1."""
    gradients = _gradients(grad_output, input, weight, offset, None, options)
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    *scratch: Tensor,
    scale: float,
    **options: Any,
) -> None:
    """Gradient of the weight of v1 times ``scale``, added in place."""
    weight = torch.zeros_like(grad_weight)  # its values do not matter here
    gradients = _gradients(grad_output, input, weight, offset, None, options)
    grad_weight.add_(gradients[1], alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **options: Any,
) -> None:
    """Output of v2."""
    offset, mask = (_first(x, output.shape[2:]) for x in (offset, mask))
    input, weight, bias, offset, mask = at_least_single(
        input, weight, bias, offset, mask
    )
    output.copy_(
        ops.deform_conv2d(
            input,
            offset,
            weight,
            bias if with_bias else None,
            mask=mask,
            **_geometry(options),
        )
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **options: Any,
) -> None:
    """Gradients of v2."""
    offset, mask = (_first(x, grad_output.shape[2:]) for x in (offset, mask))
    gradients = _gradients(grad_output, input, weight, offset, mask, options)
    for place, gradient in zip(
        (grad_input, grad_weight, grad_offset, grad_mask, grad_bias),
        gradients if with_bias else gradients[:4],
        strict=False,
    ):
        if place.shape == gradient.shape:
            place.copy_(gradient)
            continue
        # What was not read has no gradient.
        rest = place[0].numel() - gradient[0].numel()
        whole = functional.pad(gradient.flatten(1), (0, rest))
        place.copy_(whole.view(place.shape))


def _first(values: Tensor, size: Sequence[int]) -> Tensor:
    """The first values of each image, ``(B, C, H', W')`` of that size."""
    count = values.size(1) * math.prod(size)
    if values.shape[2:] == size or values[0].numel() < count:
        return values  # torchvision refuses what is too small
    return values.flatten(1)[:, :count].view(*values.shape[:2], *size)


def _geometry(options: dict[str, Any]) -> Geometry:
    """Stride, padding and dilation, each along height and width."""
    if 'dH' in options:
        names = (('dH', 'dW'), ('padH', 'padW'), ('dilationH', 'dilationW'))
    else:
        names = (
            ('stride_h', 'stride_w'),
            ('pad_h', 'pad_w'),
            ('dilation_h', 'dilation_w'),
        )
    return {
        key: (options[height], options[width])
        for key, (height, width) in zip(
            ('stride', 'padding', 'dilation'), names, strict=True
        )
    }


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    options: dict[str, Any],
) -> tuple[Tensor, ...]:
    """Gradients of the input, the weight, the offset, the mask, the bias."""
    grad_output, input, weight, offset = at_least_single(
        grad_output, input, weight, offset
    )
    factors = input.new_zeros(len(input), 1) if mask is None else mask
    geometry = _geometry(options)
    return torch.ops.torchvision._deform_conv2d_backward(
        grad_output,
        input,
        weight,
        offset,
        *at_least_single(factors),
        input.new_zeros(weight.size(0)),
        *geometry['stride'],
        *geometry['padding'],
        *geometry['dilation'],
        options['group'],
        options['deformable_group'],
        mask is not None,
    )
