"""Non-maximum suppression against loops over single boxes."""

import math

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, nms_match, soft_nms
from torch import Tensor

DTYPES = [torch.float64, torch.float32]


def boxes_and_scores(
    count: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=dtype) * 40
    size = torch.rand(count, 2, generator=generator, dtype=dtype) * 30 + 1
    scores = torch.randperm(count, generator=generator).to(dtype) + 1
    return torch.cat([corner, corner + size], 1), scores / (count + 1)


def iou(a: list[float], b: list[float], offset: int) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [
        (x2 - x1 + offset) * (y2 - y1 + offset) for x1, y1, x2, y2 in (a, b)
    ]
    return width * height / (sum(areas) - width * height)


def naive_nms(
    boxes: Tensor, scores: Tensor, threshold: float, offset: int
) -> list[int]:
    order = sorted(range(len(boxes)), key=lambda i: -float(scores[i]))
    kept: list[int] = []
    for i in order:
        if all(
            iou(boxes[i].tolist(), boxes[k].tolist(), offset) <= threshold
            for k in kept
        ):
            kept.append(i)
    return kept


def naive_soft_nms(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    sigma: float,
    min_score: float,
    method: str,
    offset: int,
) -> list[tuple[int, float]]:
    left = dict(enumerate(scores.tolist()))
    kept = []
    while left:
        best = max(left, key=lambda i: left[i])
        kept.append((best, left.pop(best)))
        for i, score in list(left.items()):
            overlap = iou(boxes[i].tolist(), boxes[best].tolist(), offset)
            if method == 'gaussian':
                score *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                score *= 1 - overlap if method == 'linear' else 0
            left[i] = score
            if score < min_score:
                del left[i]
    return kept


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.5])
@pytest.mark.parametrize('dtype', DTYPES)
def test_nms(dtype: torch.dtype, threshold: float, offset: int) -> None:
    boxes, scores = boxes_and_scores(60, seed=0, dtype=dtype)
    dets, kept = nms(boxes, scores, threshold, offset)
    expected = naive_nms(boxes, scores, threshold, offset)
    assert 1 < len(expected) < 60
    assert kept.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


def test_offset_matters() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0.0, 0, 9, 4]])
    scores = torch.tensor([0.9, 0.8])
    # pixels: 50 of 100; without the offset: 36 of 81
    assert nms(boxes, scores, 0.45, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.45, offset=1)[1].tolist() == [0]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('height', range(1, 10))
def test_an_overlap_of_the_threshold_is_kept(
    dtype: torch.dtype, height: int
) -> None:
    """Also where the fp32 threshold is above the fp64 one."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, height]], dtype=dtype)
    scores = torch.tensor([0.9, 0.8], dtype=dtype)
    assert nms(boxes, scores, height / 10)[1].tolist() == [0, 1]
    assert nms(boxes, scores, height / 10 - 1e-3)[1].tolist() == [0]


def test_nms_options_and_forms() -> None:
    boxes, scores = boxes_and_scores(40, seed=1, dtype=torch.float32)
    full = naive_nms(boxes, scores, 0.3, 0)
    assert nms(boxes, scores, 0.3, max_num=3)[1].tolist() == full[:3]
    high = [i for i in full if scores[i] > 0.5]
    assert nms(boxes, scores, 0.3, score_threshold=0.5)[1].tolist() == high
    dets, kept = nms(boxes.numpy(), scores.numpy(), 0.3)
    assert isinstance(dets, np.ndarray) and kept.tolist() == full
    dets, kept = nms(boxes[:0], scores[:0], 0.3)
    assert dets.shape == (0, 5) and kept.shape == (0,)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_nms_of_half_precision(dtype: torch.dtype) -> None:
    boxes, scores = boxes_and_scores(30, seed=2)
    boxes, scores = boxes.round().to(dtype), scores.to(dtype)
    expected = naive_nms(boxes.double(), scores.double(), 0.35, 0)
    dets, kept = nms(boxes, scores, 0.35)
    assert kept.tolist() == expected and dets.dtype == dtype


@pytest.mark.parametrize('split', [10000, 10])
def test_batched_nms_keeps_classes_apart(split: int) -> None:
    boxes, scores = boxes_and_scores(60, seed=3)
    classes = torch.arange(60) % 3
    config = dict(type='nms', iou_threshold=0.4, split_thr=split)
    dets, kept = batched_nms(boxes, scores, classes, config)
    expected = []
    for label in range(3):
        ids = (classes == label).nonzero()[:, 0]
        chosen = naive_nms(boxes[ids], scores[ids], 0.4, 0)
        expected += ids[chosen].tolist()
    expected.sort(key=lambda i: -float(scores[i]))
    assert kept.tolist() == expected
    assert torch.equal(dets[:, :4], boxes[kept])
    agnostic = batched_nms(
        boxes, scores, classes, config, class_agnostic=True
    )[1]
    if split > 60:
        assert agnostic.tolist() == naive_nms(boxes, scores, 0.4, 0)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('min_score', [1e-3, 0.2])
@pytest.mark.parametrize('dtype', DTYPES)
def test_soft_nms(
    dtype: torch.dtype, min_score: float, method: str, offset: int
) -> None:
    boxes, scores = boxes_and_scores(30, seed=4, dtype=dtype)
    arguments = (0.3, 0.5, min_score, method, offset)
    dets, kept = soft_nms(boxes, scores, *arguments)
    expected = naive_soft_nms(boxes, scores, *arguments)
    assert kept.tolist() == [i for i, _ in expected]
    assert torch.equal(dets[:, :4], boxes[kept])
    lowered = torch.tensor([score for _, score in expected], dtype=dtype)
    torch.testing.assert_close(dets[:, 4], lowered)
    assert not torch.equal(dets[:, 4], scores[kept]) or method == 'naive'


def test_soft_nms_of_nothing() -> None:
    dets, kept = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5) and kept.shape == (0,)


def test_batched_soft_nms_gives_lowered_scores() -> None:
    boxes, scores = boxes_and_scores(20, seed=5)
    config = dict(type='soft_nms', iou_threshold=0.3, min_score=1e-3)
    dets, kept = batched_nms(boxes, scores, torch.zeros(20), config)
    expected = naive_soft_nms(boxes, scores, 0.3, 0.5, 1e-3, 'linear', 0)
    assert kept.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, 4].tolist(), [s for _, s in expected])


def test_nms_match_groups_all_boxes() -> None:
    boxes, scores = boxes_and_scores(40, seed=6)
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)
    order = scores.argsort(descending=True).tolist()
    expected = []
    while order:
        best = boxes[order[0]].tolist()
        group = [i for i in order if iou(boxes[i].tolist(), best, 0) >= 0.4]
        expected.append(group)
        order = [i for i in order if i not in group]
    assert [group.tolist() for group in groups] == expected
    assert max(map(len, expected)) > 2
