"""RoIAlign against a loop over single samples."""

import math

import pytest
import torch
from mmcv.ops import RoIAlign
from torch import Tensor
from torch.autograd import gradcheck

from mmhgkd.transfer import MissingOperatorError

ROIS = [
    [0, 1.0, 2.0, 13.0, 15.0],
    [1, -3.0, 4.5, 9.0, 30.0],
    [1, 5.0, 5.0, 5.4, 6.0],
    [0, 20.0, 20.0, 40.0, 40.0],
]


def interpolate(image: Tensor, y: float, x: float) -> Tensor:
    """Bilinear, of ``(C, H, W)``; borders reach one position out."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return image.new_zeros(len(image))
    y = min(max(y, 0), height - 1)
    x = min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    value = image.new_zeros(len(image))
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            if row < height and column < width:
                value = value + row_weight * weight * image[:, row, column]
    return value


def naive_roi_align(
    features: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
) -> Tensor:
    shift = 0.5 if aligned else 0.0
    output = []
    for roi in rois.tolist():
        x1, y1, x2, y2 = (c * scale - shift for c in roi[1:])
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        rows = ratio if ratio > 0 else math.ceil(height / size[0])
        columns = ratio if ratio > 0 else math.ceil(width / size[1])
        for i in range(size[0]):
            for j in range(size[1]):
                samples = [
                    interpolate(
                        features[int(roi[0])],
                        y1 + height / size[0] * (i + (a + 0.5) / rows),
                        x1 + width / size[1] * (j + (b + 0.5) / columns),
                    )
                    for a in range(rows)
                    for b in range(columns)
                ]
                output.append(torch.stack(samples).mean(0))
    channels = features.size(1)
    return (
        torch.stack(output)
        .view(len(rois), *size, channels)
        .permute(0, 3, 1, 2)
    )


def features_of(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 8, 10, generator=generator, dtype=dtype)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('scale', [0.25, 1.0])
@pytest.mark.parametrize('size', [(2, 2), (3, 1)])
def test_output_and_gradient(
    size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> None:
    features = features_of().requires_grad_()
    rois = torch.tensor(ROIS, dtype=torch.float64)
    expected = naive_roi_align(features, rois, size, scale, ratio, aligned)
    output = RoIAlign(size, scale, ratio, aligned=aligned)(features, rois)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)

    weight = torch.randn_like(expected)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), features)
    (ours,) = torch.autograd.grad((output * weight).sum(), features)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert theirs.abs().sum() > 1


def test_gradcheck() -> None:
    rois = torch.tensor(ROIS, dtype=torch.float64)
    layer = RoIAlign((2, 3), 0.5, 2)
    assert gradcheck(lambda f: layer(f, rois), features_of().requires_grad_())


@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16]
)
def test_precisions_are_rounded_once(dtype: torch.dtype) -> None:
    features = features_of().to(dtype).requires_grad_()
    rois = torch.tensor(ROIS).to(dtype)
    expected = naive_roi_align(
        features.detach().double(), rois.double(), (2, 2), 0.5, 2, True
    )
    output = RoIAlign(2, 0.5, 2)(features, rois)
    tolerance = torch.finfo(dtype).eps
    torch.testing.assert_close(
        output.double(), expected, rtol=tolerance, atol=2 * tolerance
    )
    output.sum().backward()
    assert features.grad is not None and features.grad.dtype == dtype


def test_no_regions() -> None:
    features = features_of().requires_grad_()
    output = RoIAlign(2)(features, features.new_zeros(0, 5))
    assert output.shape == (0, 3, 2, 2)
    output.sum().backward()
    assert features.grad is not None and not features.grad.any()


def test_gradient_that_is_not_contiguous() -> None:
    features = features_of().requires_grad_()
    rois = torch.tensor(ROIS, dtype=torch.float64)
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    layer = RoIAlign(2, 0.5, 2)
    (straight,) = torch.autograd.grad(
        (layer(features, rois) * weight).sum(), features
    )
    turned = layer(features, rois).permute(3, 1, 0, 2)
    (other,) = torch.autograd.grad(
        (turned * weight.permute(3, 1, 0, 2)).sum(), features
    )
    assert torch.equal(straight, other)


def test_maximum_pooling_is_missing() -> None:
    with pytest.raises(MissingOperatorError, match="pool_mode='max'"):
        RoIAlign(2, pool_mode='max')(features_of(), torch.zeros(1, 5).double())
