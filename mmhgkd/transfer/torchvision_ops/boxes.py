"""Suppression of boxes, and features of boxes.

Arguments, by the names of MMCV:

- ``boxes``: corners (x1, y1, x2, y2), ``(N, 4)``; ``offset``: 1 where they
  are pixels that belong to the box, else 0; ``scores``: ``(N, )``.
- ``iou_threshold``: overlap with a better box from which on one is
  suppressed; ``sigma``: width of the Gaussian.
- ``rois``: image index and corners in pixels, ``(N, 5)``; ``spatial_scale``:
  positions of the feature map per pixel; ``sampling_ratio``: samples along
  each side of a bin, 0 for as many as it has positions; ``aligned``: whether
  pixel centers lie at half a pixel.
"""

import torch
from torch import Tensor
from torchvision import ops

from .provider import MissingOperatorError, at_least_single

NAIVE, LINEAR, GAUSSIAN = range(3)
AVERAGE = 1


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int
) -> Tensor:
    """Non-maximum suppression: indices ``(M, )`` of the kept boxes.

    They are int64 and go by falling score.
    """
    boxes, scores = at_least_single(boxes, scores)
    boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return ops.nms(boxes, scores, _rounded(iou_threshold, boxes))


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group the boxes by the one that suppresses them.

    ``dets`` are corners and scores, ``(N, 5)``; boxes overlap from the
    threshold on. The indices of each group go by falling score.
    """
    (dets,) = at_least_single(dets)
    order = dets[:, 4].argsort(descending=True, stable=True)
    threshold = _rounded(iou_threshold, dets)
    groups = []
    while len(order):
        best = order[0]
        overlaps = ops.box_iou(dets[best, None, :4], dets[order, :4])[0]
        same = overlaps >= threshold
        same[0] = True
        groups.append(order[same].tolist())
        order = order[~same]
    return groups


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (arXiv 1704.04503): lowers the scores of overlapping boxes.

    Its first rows of ``dets``, ``(N, 5)``, become the kept boxes and their
    lowered scores by falling score. Boxes below ``min_score`` are dropped.
    Of ``method`` 0 drops, 1 lowers linearly, 2 by a Gaussian. The result are
    the indices of the kept boxes, ``(M, )`` int64.
    """
    full, scores = at_least_single(boxes, scores)
    full = full + full.new_tensor([0, 0, offset, offset])
    left = torch.arange(len(full))
    kept: list[Tensor] = []
    while len(left):
        place = int(scores.argmax())
        best = left[place]
        dets[len(kept), :4] = boxes[best]
        dets[len(kept), 4] = scores[place]
        kept.append(best)
        rest = torch.arange(len(left)) != place
        left, scores = left[rest], scores[rest]
        overlaps = ops.box_iou(full[best, None], full[left])[0]
        scores = scores * _weights(overlaps, iou_threshold, sigma, method)
        alive = scores >= min_score
        left, scores = left[alive], scores[alive]
    return torch.stack(kept) if kept else left


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    *argmax: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign with average pooling (Mask R-CNN, arXiv 1703.06870).

    From ``input`` of ``(B, C, H, W)`` to ``output`` of
    ``(N, C, aligned_height, aligned_width)``.
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
    """Gradient of :func:`roi_align_forward`, written to ``grad_input``."""
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


def _rounded(threshold: float, boxes: Tensor) -> float:
    """The threshold in the precision that MMCV compares overlaps in."""
    return torch.tensor(threshold, dtype=boxes.dtype).item()


def _weights(
    overlaps: Tensor, iou_threshold: float, sigma: float, method: int
) -> Tensor:
    """Factor of each score, of the shape of ``overlaps``."""
    if method == GAUSSIAN:
        return (-overlaps.square() / sigma).exp()
    lowered = 1 - overlaps if method == LINEAR else torch.zeros_like(overlaps)
    return torch.where(overlaps >= iou_threshold, lowered, 1)


def _check(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise MissingOperatorError("roi_align with pool_mode='max'")
