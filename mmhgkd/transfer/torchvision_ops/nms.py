import torch
from torch import Tensor
from torchvision import ops

from .precision import at_least_single


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int
) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes (Tensor): Corners (x1, y1, x2, y2), ``(N, 4)``.
        scores (Tensor): Scores of the boxes, ``(N, )``.
        iou_threshold (float): Boxes that overlap a better one by more than
            this are dropped.
        offset (int): 1 where the corners are pixels that belong to the box,
            else 0.

    Returns:
        Tensor: Indices of the kept boxes by falling score, ``(M, )`` int64.
    """
    boxes, scores = at_least_single(boxes, scores)
    boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return ops.nms(boxes, scores, _rounded(iou_threshold, boxes))


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group the boxes by the one that suppresses them.

    Args:
        dets (Tensor): Corners and scores, ``(N, 5)``.
        iou_threshold (float): Boxes that overlap a better one by this or
            more join its group.

    Returns:
        list[list[int]]: Indices of each group by falling score.
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


def _rounded(threshold: float, boxes: Tensor) -> float:
    """The threshold in the precision that MMCV compares overlaps in."""
    return torch.tensor(threshold, dtype=boxes.dtype).item()
