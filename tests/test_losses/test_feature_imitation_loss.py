import math

import pytest
import torch

from mmhgkd.losses import FeatureImitationLoss


def naive(
    student: torch.Tensor,
    teacher: torch.Tensor,
    visible: torch.Tensor,
    distance: str,
    region: str,
) -> float:
    values = []
    for image in range(student.size(0)):
        for token in range(student.size(1)):
            seen = bool(visible[image, token])
            if region == ('masked' if seen else 'visible'):
                continue
            s = student[image, token].tolist()
            t = teacher[image, token].tolist()
            pairs = list(zip(s, t, strict=True))
            if distance == 'cosine':
                dot = sum(a * b for a, b in pairs)
                norms = math.dist(s, [0] * len(s)) * math.dist(t, [0] * len(t))
                values.append(1 - dot / norms)
                continue
            terms = []
            for a, b in pairs:
                d = abs(a - b)
                terms.append(
                    {
                        'mse': d * d,
                        'l1': d,
                        'smooth_l1': d * d / 2 if d < 1 else d - 0.5,
                    }[distance]
                )
            values.append(sum(terms) / len(terms))
    return sum(values) / len(values)


@pytest.mark.parametrize('region', ['all', 'masked', 'visible'])
@pytest.mark.parametrize('distance', ['mse', 'smooth_l1', 'l1', 'cosine'])
def test_loss_equals_naive_loop(distance: str, region: str) -> None:
    torch.manual_seed(0)
    student = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 5, 4, dtype=torch.float64)
    visible = torch.rand(3, 5) < 0.4
    loss = FeatureImitationLoss(distance, region, loss_weight=2.0)
    expected = 2 * naive(student, teacher, visible, distance, region)
    assert loss(student, teacher, visible).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(
        lambda s: loss(s, teacher, visible), (student,)
    )


def test_empty_region_is_zero() -> None:
    loss = FeatureImitationLoss(region='masked')
    x = torch.randn(1, 4, 3)
    assert loss(x, -x, torch.ones(1, 4, dtype=torch.bool)).item() == 0


def test_half_precision_is_promoted() -> None:
    student = torch.full((1, 1, 256), 300.0, dtype=torch.float16)
    teacher = torch.zeros(1, 1, 256, dtype=torch.float16)
    seen = torch.ones(1, 1, dtype=torch.bool)
    # 300^2 overflows fp16.
    assert FeatureImitationLoss()(student, teacher, seen).item() == 90000


@pytest.mark.parametrize(
    'options',
    [
        dict(distance='l3'),
        dict(region='hidden'),
    ],
)
def test_bad_options(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        FeatureImitationLoss(**options)
