import torch
from torch import Tensor
from torchvision import ops

from .precision import at_least_single


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Deformable convolution (arXiv 1703.06211).

    Args:
        input (Tensor): Feature map, ``(B, C, H, W)``.
        weight (Tensor): Weight, ``(O, C / group, kH, kW)``.
        offset (Tensor): Shifts (y, x) of the samples in positions,
            ``(B, 2 * deformable_group * kH * kW, H', W')``.
        output (Tensor): Output, ``(B, O, H', W')``.
        columns (Tensor): Not used.
        ones (Tensor): Not used.
        kW (int): Not used, as the next; the weight's shape says it.
        kH (int): Not used.
        dW (int): Stride along the width.
        dH (int): Stride along the height.
        padW (int): Padding along the width.
        padH (int): Padding along the height.
        dilationW (int): Dilation along the width.
        dilationH (int): Dilation along the height.
        group (int): Not used; the weight's shape says it.
        deformable_group (int): Not used; the offset's shape says it.
        im2col_step (int): Not used.
    """
    input, offset, weight = at_least_single(input, offset, weight)
    output.copy_(
        ops.deform_conv2d(
            input,
            offset,
            weight,
            stride=(dH, dW),
            padding=(padH, padW),
            dilation=(dilationH, dilationW),
        )
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradients of the input and the offset, written in place.

    See :func:`deform_conv_forward` for the arguments.
    """
    gradients = deform_conv_gradients(
        grad_output,
        input,
        weight,
        offset,
        None,
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
        group,
        deformable_group,
    )
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Gradient of the weight times ``scale``, added in place.

    See :func:`deform_conv_forward` for the other arguments.
    """
    weight = torch.zeros_like(grad_weight)  # its values do not matter here
    gradients = deform_conv_gradients(
        grad_output,
        input,
        weight,
        offset,
        None,
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
        group,
        deformable_group,
    )
    grad_weight.add_(gradients[1], alpha=scale)


def deform_conv_gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    group: int,
    deformable_group: int,
) -> tuple[Tensor, ...]:
    """Gradients of a deformable convolution with or without modulation.

    Returns:
        tuple[Tensor]: Of the input, the weight, the offset, the mask and the
        bias.
    """
    grad_output, input, weight, offset = at_least_single(
        grad_output, input, weight, offset
    )
    with_mask = mask is not None
    mask = (
        at_least_single(mask)[0]
        if mask is not None
        else input.new_zeros(len(input), 1)
    )
    return torch.ops.torchvision._deform_conv2d_backward(
        grad_output,
        input,
        weight,
        offset,
        mask,
        input.new_zeros(weight.size(0)),
        *stride,
        *padding,
        *dilation,
        group,
        deformable_group,
        with_mask,
    )
