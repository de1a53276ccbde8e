import torch
from torch import Tensor
from torchvision import ops

from .precision import at_least_single

NAIVE, LINEAR, GAUSSIAN = range(3)


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
    """Suppression that lowers the scores of overlapping boxes.

    Soft-NMS (arXiv 1704.04503).

    Args:
        boxes (Tensor): Corners (x1, y1, x2, y2), ``(N, 4)``.
        scores (Tensor): Scores of the boxes, ``(N, )``.
        dets (Tensor): Output, ``(N, 5)``; the first rows become the kept
            boxes and their lowered scores by falling score.
        iou_threshold (float): Overlap from which on boxes are suppressed;
            not for the Gaussian.
        sigma (float): Width of the Gaussian.
        min_score (float): Boxes whose score falls below this are dropped.
        method (int): 0 drops, 1 lowers linearly, 2 by a Gaussian.
        offset (int): 1 where the corners are pixels that belong to the box,
            else 0.

    Returns:
        Tensor: Indices of the kept boxes, ``(M, )`` int64.
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


def _weights(
    overlaps: Tensor, iou_threshold: float, sigma: float, method: int
) -> Tensor:
    """Factor of each score, of the shape of ``overlaps``."""
    if method == GAUSSIAN:
        return (-overlaps.square() / sigma).exp()
    lowered = 1 - overlaps if method == LINEAR else torch.zeros_like(overlaps)
    return torch.where(overlaps >= iou_threshold, lowered, 1)
