from torch import Tensor
from torchvision import ops

from .deform_conv import deform_conv_gradients
from .precision import at_least_single


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Deformable convolution with modulated samples (arXiv 1811.11168).

    Args:
        input (Tensor): Feature map, ``(B, C, H, W)``.
        weight (Tensor): Weight, ``(O, C / group, kernel_h, kernel_w)``.
        bias (Tensor): Bias, ``(O, )``; empty without one.
        ones (Tensor): Not used.
        offset (Tensor): Shifts (y, x) of the samples in positions,
            ``(B, 2 * deformable_group * kernel_h * kernel_w, H', W')``.
        mask (Tensor): Factors of the samples,
            ``(B, deformable_group * kernel_h * kernel_w, H', W')``.
        output (Tensor): Output, ``(B, O, H', W')``.
        columns (Tensor): Not used.
        kernel_h (int): Not used, as the next; the weight's shape says it.
        kernel_w (int): Not used.
        stride_h (int): Stride along the height.
        stride_w (int): Stride along the width.
        pad_h (int): Padding along the height.
        pad_w (int): Padding along the width.
        dilation_h (int): Dilation along the height.
        dilation_w (int): Dilation along the width.
        group (int): Not used; the weight's shape says it.
        deformable_group (int): Not used; the offset's shape says it.
        with_bias (bool): Whether there is a bias.
    """
    input, weight, bias, offset, mask = at_least_single(
        input, weight, bias, offset, mask
    )
    output.copy_(
        ops.deform_conv2d(
            input,
            offset,
            weight,
            bias if with_bias else None,
            stride=(stride_h, stride_w),
            padding=(pad_h, pad_w),
            dilation=(dilation_h, dilation_w),
            mask=mask,
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
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradients, written to the arguments ``grad_*`` of the inputs.

    See :func:`modulated_deform_conv_forward` for the arguments.
    """
    outputs = [grad_input, grad_weight, grad_offset, grad_mask]
    if with_bias:
        outputs.append(grad_bias)
    gradients = deform_conv_gradients(
        grad_output,
        input,
        weight,
        offset,
        mask,
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    for output, gradient in zip(outputs, gradients, strict=False):
        output.copy_(gradient)
