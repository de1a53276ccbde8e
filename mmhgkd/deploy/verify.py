"""Whether a file computes what the library's own model does."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from mmhgkd.utils import ConfigError

from .onnx_file import draw_photos, run
from .task_model import TaskModel

#: Largest accepted difference, relative to the largest output above 1.
TOLERANCE = 1e-3
#: Share of boxes and of pixels that may be decided the other way: rounding
#: tips scores that are equal but for it.
SLIPS = 0.01
_SIZES = ((2, 96, 128), (1, 160, 128))


def verify(
    task_model: TaskModel, session: Any, tolerance: float = TOLERANCE
) -> dict[str, float]:
    """Compare on drawn pictures, in batches of different number and size.

    Args:
        task_model (TaskModel): The model.
        session (InferenceSession): Its file.
        tolerance (float): Largest accepted difference. Defaults to
            ``TOLERANCE``; with infinity only what is no number is refused.

    Returns:
        dict[str, float]: Largest difference of each output.

    Raises:
        ConfigError: If they differ by more.
    """
    largest: dict[str, float] = {}
    for number, size in enumerate(_SIZES):
        images = draw_photos(
            *size, seed=number + 1, channels=task_model.graph.channels
        )
        expected = task_model.graph.reference(images)
        found = run(session, images)
        if task_model.graph.task == 'detection':
            differences = compare_boxes(expected, found)
        else:
            differences = compare_values(expected, found)
        for name, value in differences.items():
            largest[name] = max(value, largest.get(name, 0.0))
    for name, value in largest.items():
        limit = tolerance
        if name in ('labels', 'unmatched'):
            limit = SLIPS if tolerance < 1 else 2.0
        # Not "greater than": NaN is no equality either.
        if not value <= limit:
            raise ConfigError(
                f'{task_model.source}: the {name} of the file and of the '
                f'model differ by {value:.3g}, so they are not equal; '
                'nothing is written'
            )
    return largest


def compare_values(
    expected: dict[str, Tensor], found: dict[str, Tensor]
) -> dict[str, float]:
    """Largest difference of values; of labels, their share."""
    result = {}
    for name, values in found.items():
        wanted = expected[name]
        if name == 'labels':
            result[name] = (values != wanted).float().mean().item()
            continue
        scale = max(1.0, wanted.abs().max().item())
        result[name] = (values - wanted).abs().max().item() / scale
    return result


def compare_boxes(
    expected: dict[str, Sequence[Tensor]], found: dict[str, Tensor]
) -> dict[str, float]:
    """Largest difference of matched boxes and scores.

    Boxes of one class whose scores agree are taken in the order of their
    places; 'unmatched' is the share of boxes without a partner.
    """
    worst = dict(boxes=0.0, scores=0.0)
    alone = total = 0
    for index, scores in enumerate(found['scores']):
        is_box = scores >= 0
        own = {k: found[k][index][is_box] for k in ('boxes', 'labels')}
        own['scores'] = scores[is_box]
        other = {k: expected[k][index] for k in own}
        pairs = match(own, other)
        total += max(len(own['scores']), len(other['scores']))
        alone += max(len(own['scores']), len(other['scores'])) - len(pairs)
        if not len(pairs):
            continue
        left, right = pairs.unbind(1)
        for name in worst:
            difference = (own[name][left] - other[name][right]).abs()
            scale = max(1.0, own[name].abs().max().item())
            worst[name] = max(worst[name], difference.max().item() / scale)
    return dict(worst, unmatched=alone / max(total, 1))


def match(
    own: dict[str, Tensor],
    other: dict[str, Tensor],
    overlap: float = 0.99,
    scores: float = 0.01,
) -> Tensor:
    """Pairs ``(N, 2)`` of boxes of one class that are the same."""
    same = box_iou(own['boxes'], other['boxes'])
    same = torch.where(
        own['labels'][:, None] == other['labels'][None], same, 0.0
    )
    differ = (own['scores'][:, None] - other['scores'][None]).abs() > scores
    same = torch.where(differ, 0.0, same)
    pairs = []
    for row in range(len(same)):
        best = int(same[row].argmax()) if same.size(1) else -1
        if best >= 0 and same[row, best] >= overlap:
            pairs.append((row, best))
            same[:, best] = 0.0
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
