"""Multi-scale deformable attention (arXiv 2010.04159).

On CPUs MMCV computes it by PyTorch's own sampling and asks for no operator;
on CUDA it does, and gets the same computation from here. Arguments are those
of MMCV's ``multi_scale_deformable_attn_pytorch``; the start of each level
follows from the shapes, and scratch options are not used.
"""

from typing import Any

import torch
from torch import Tensor

from .provider import at_least_single


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    **scratch: Any,
) -> Tensor:
    """Output, ``(B, queries, heads * channels)``."""
    values, locations, weights = at_least_single(
        value, sampling_locations, attention_weights
    )
    output = _attend(values, locations, weights, spatial_shapes)
    return output.to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    **scratch: Any,
) -> None:
    """Gradients of the values, the locations and the weights."""
    inputs = [
        x.detach().requires_grad_()
        for x in at_least_single(value, sampling_locations, attention_weights)
    ]
    with torch.enable_grad():
        output = _attend(inputs[0], inputs[1], inputs[2], spatial_shapes)
    gradients = torch.autograd.grad(
        output, inputs, grad_output.to(output.dtype)
    )
    places = (grad_value, grad_sampling_loc, grad_attn_weight)
    for place, gradient in zip(places, gradients, strict=True):
        place.copy_(gradient)


def _attend(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Tensor
) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import (
        multi_scale_deformable_attn_pytorch,
    )

    return multi_scale_deformable_attn_pytorch(
        value, shapes, locations, weights
    )
