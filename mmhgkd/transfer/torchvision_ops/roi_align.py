import torch
from torch import Tensor
from torchvision import ops

from .missing_operator_error import MissingOperatorError
from .precision import at_least_single

AVERAGE = 1


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign with average pooling (Mask R-CNN, arXiv 1703.06870).

    Args:
        input (Tensor): Feature map, ``(B, C, H, W)``.
        rois (Tensor): Image index and corners in pixels, ``(N, 5)``.
        output (Tensor): Output, ``(N, C, aligned_height, aligned_width)``.
        argmax_y (Tensor): Not used; for maximum pooling only.
        argmax_x (Tensor): Not used; for maximum pooling only.
        aligned_height (int): Bins along the height of a region.
        aligned_width (int): Bins along the width of a region.
        spatial_scale (float): Positions of the feature map per pixel.
        sampling_ratio (int): Samples along each side of a bin; 0 takes as
            many as the bin has positions.
        pool_mode (int): 1 for the average; 0, the maximum, is missing.
        aligned (bool): Whether pixel centers lie at half a pixel.

    Raises:
        MissingOperatorError: If ``pool_mode`` is 0.
    """
    _check(pool_mode)
    features, boxes = at_least_single(input, rois)
    output.copy_(
        ops.roi_align(
            features,
            boxes.to(features.dtype),
            (aligned_height, aligned_width),
            spatial_scale,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward`, written to ``grad_input``.

    See :func:`roi_align_forward` for the arguments.

    Raises:
        MissingOperatorError: If ``pool_mode`` is 0.
    """
    _check(pool_mode)
    gradient, boxes = at_least_single(grad_output, rois)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            gradient,
            boxes.to(gradient.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _check(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise MissingOperatorError("roi_align with pool_mode='max'")
