from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn

from mmhgkd.masks import RandomUnitMask
from mmhgkd.registry import MODELS
from mmhgkd.visualization import draw_intensities, intensities
from mmhgkd.visualization.intensity import _histogram


def make_model(mask_ratio: float) -> nn.Module:
    model = nn.Module()
    torch.manual_seed(0)
    model.backbone = MODELS.build(
        dict(
            type='mmhgkd.SparseResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
        )
    )
    model.mask = RandomUnitMask(mask_ratio=mask_ratio)
    return model.train()


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 64, 96, generator=generator)


def test_histogram_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    values = {
        name: shift + torch.randn(n, generator=generator)
        for name, shift, n in (
            ('full', 0, 500),
            ('zero_filled', 1, 300),
            ('sparse', -1, 200),
        )
    }
    histogram = _histogram('x', values, 8)
    edges = histogram.edges
    low, high = np.percentile(values['full'].double(), [0.1, 99.9])
    np.testing.assert_allclose([edges[0], edges[-1]], [low, high])
    shares = {}
    for name, tensor in values.items():
        counts = [0] * 8
        for value in tensor.double().tolist():
            inside = min(max(value, edges[0]), edges[-1])
            counts[
                max(
                    i
                    for i, (a, _) in enumerate(pairwise(edges))
                    if a <= inside
                )
            ] += 1
        shares[name] = np.array(counts) / len(tensor)
        np.testing.assert_allclose(histogram.shares[name], shares[name])
    for name, share in shares.items():
        expected = (
            sum(abs(a - b) for a, b in zip(share, shares['full'], strict=True))
            / 2
        )
        assert histogram.shift[name] == pytest.approx(expected)


def test_without_a_mask_nothing_shifts() -> None:
    model = make_model(mask_ratio=0)
    for histogram in intensities(model, images()):
        assert histogram.shift['zero_filled'] == 0
        # Rounding may move a value over an edge.
        assert histogram.shift['sparse'] < 1e-3
    assert model.training


def test_zeros_shift_the_pixels_and_sparse_does_not() -> None:
    model = make_model(mask_ratio=0.5)
    pixels, *stages = intensities(model, images())
    assert [stage.name for stage in stages] == [
        'stage 1',
        'stage 2',
        'stage 3',
        'stage 4',
    ]
    # Half of the values become zero, few of which were near zero before.
    assert 0.45 < pixels.shift['zero_filled'] < 0.5
    assert pixels.shift['sparse'] < 0.05
    assert stages[0].shift['zero_filled'] > 2 * stages[0].shift['sparse']


def test_figure_shows_every_histogram() -> None:
    histograms = intensities(make_model(0.5), images())
    figure = draw_intensities(histograms)
    FigureCanvasAgg(figure).draw()
    assert len(figure.axes) == 5
    for axis, histogram in zip(figure.axes, histograms, strict=True):
        assert (
            f'dense {histogram.shift["zero_filled"]:.3f}' in axis.get_title()
        )
        drawn = [patch.get_data().values for patch in axis.patches]
        np.testing.assert_array_equal(drawn, list(histogram.shares.values()))
