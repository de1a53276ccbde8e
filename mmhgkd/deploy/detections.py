"""What detectors do behind their networks, in a form that can be recorded."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision import ops

from .graph import refuse

#: Score of a place in a table that holds no box.
NOTHING = -1.0


class _Suppress(torch.autograd.Function):
    """Non-maximum suppression in each group of boxes on its own."""

    @staticmethod
    def forward(
        ctx: Any, boxes: Tensor, scores: Tensor, threshold: float
    ) -> Tensor:
        kept = []
        for row in scores:
            index = (row > NOTHING / 2).nonzero().squeeze(1)
            best = ops.nms(boxes[index], row[index], threshold)
            kept.append(index[best])
        return torch.cat(kept)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, threshold: float) -> Any:
        def constant(value: float | int) -> Any:
            return g.op('Constant', value_t=torch.tensor([value]))

        axes = g.op('Constant', value_t=torch.tensor([0]))
        found = g.op(
            'NonMaxSuppression',
            g.op('Unsqueeze', boxes, axes),
            g.op('Unsqueeze', scores, axes),
            constant(2**31),
            constant(threshold),
            constant(NOTHING / 2),
        )
        # Rows of image, group and box.
        last = g.op('Constant', value_t=torch.tensor(2))
        index = g.op('Gather', found, last, axis_i=1)
        index.setType(boxes.type().with_dtype(torch.int64).with_sizes([None]))
        return index


def suppression(cfg: Mapping[str, Any], option: str) -> tuple[float, bool]:
    """Threshold of an NMS config, and whether classes are all one.

    Raises:
        ConfigError: If it is another kind of suppression.
    """
    kind = cfg.get('type', 'nms')
    if kind != 'nms':
        raise refuse(
            f'{option}.type', repr(kind), "and graphs have 'nms' only"
        )
    known = ('type', 'iou_threshold', 'iou_thr', 'class_agnostic', 'split_thr')
    for key, value in cfg.items():
        if key not in known:
            raise refuse(f'{option}.{key}', repr(value), 'not in graphs')
    threshold = cfg.get('iou_threshold', cfg.get('iou_thr'))
    return float(threshold), bool(cfg.get('class_agnostic', False))


def top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best of each row: scores ``(B, count)`` by rank, and their places.

    Where a row is shorter, ``NOTHING`` and place 0 fill it.
    """
    filler = scores.new_full((1, count), NOTHING).expand(scores.size(0), -1)
    best, places = torch.cat((scores, filler), 1).topk(count, 1)
    return best, places * (best > NOTHING / 2)


def pick(table: Tensor, places: Tensor) -> Tensor:
    """Rows ``places`` ``(B, K)`` of a table ``(B, N, D)``."""
    index = places.unsqueeze(2).expand(-1, -1, table.size(2))
    return table.gather(1, index)


def clip(boxes: Tensor, images: Tensor) -> Tensor:
    """Boxes ``(..., 4)`` within the images ``(B, C, H, W)``."""
    height, width = torch._shape_as_tensor(images)[2:].to(boxes).unbind()
    sides = torch.stack((width, height, width, height))
    return boxes.clamp(min=0).minimum(sides)


def drop_small(boxes: Tensor, scores: Tensor, least: float) -> Tensor:
    """Scores, ``NOTHING`` where a box is no larger than ``least``."""
    if least < 0:
        return scores
    sizes = boxes[..., 2:] - boxes[..., :2]
    fits = (sizes > least).all(-1)
    return torch.where(fits, scores, scores.new_tensor(NOTHING))


def select(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    groups: int,
    threshold: float,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes that are left after suppression, of all images of a batch.

    Args:
        boxes (Tensor): Corners, ``(B, N, 4)``.
        scores (Tensor): ``(B, N)``; ``NOTHING`` where there is no box.
        labels (Tensor): Group in 0..groups - 1, ``(B, N)`` int64. Boxes of
            different groups or images do not suppress each other.
        groups (int): Number of groups; 1 where labels make no difference.
        threshold (float): Overlap from which on the better box wins.
        count (int): Largest number of boxes an image.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Boxes ``(B, count, 4)``, scores and
        labels ``(B, count)`` by falling score; where there is no box, zeros,
        ``NOTHING`` and -1.
    """
    batch, number = scores.shape
    flat = scores.reshape(-1)
    index = (flat > NOTHING / 2).nonzero().squeeze(1)
    image = torch.div(index, number, rounding_mode='floor')
    group = image
    if groups > 1:
        group = image * groups + labels.reshape(-1)[index]
    rows = torch.arange(batch * groups, device=scores.device)
    found = flat[index]
    table = torch.where(
        rows[:, None] == group[None], found[None], flat.new_tensor(NOTHING)
    )
    kept = _Suppress.apply(boxes.reshape(-1, 4)[index], table, threshold)
    left = torch.full_like(flat, NOTHING)
    left = left.scatter(0, index[kept], found[kept]).reshape(batch, number)
    best, places = top(left, count)
    is_box = best > NOTHING / 2
    return (
        pick(boxes, places) * is_box.unsqueeze(2),
        best,
        torch.where(is_box, labels.gather(1, places), -1),
    )
