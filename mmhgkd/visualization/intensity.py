from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmhgkd.algorithms import HGKD

VIEWS = {
    'full': 'full image',
    'zero_filled': 'masked, dense convolution',
    'sparse': 'masked, sparse convolution',
}
COLORS = {'full': '#52514e', 'zero_filled': '#eb6834', 'sparse': '#2a78d6'}


class IntensityHistogram(NamedTuple):
    """Distribution of the intensities at one depth of the student."""

    name: str  #: 'pixels', or the stage
    edges: np.ndarray  #: of the bins, ``(bins + 1, )``
    #: For each of ``VIEWS`` the share of the values in each bin, ``(bins, )``.
    #: The outer bins hold what lies beyond them, too.
    shares: dict[str, np.ndarray]
    #: Total variation distance to the full image, 0 for the same
    #: distribution, 1 for disjoint ones.
    shift: dict[str, float]


@torch.no_grad()
def intensities(
    model: HGKD, inputs: Tensor, draw: int = 0, bins: int = 64
) -> list[IntensityHistogram]:
    """Compare what a dense and a sparse convolution see of masked images.

    A plain convolution sees the masked image with its holes filled by zeros,
    which shifts the distribution of pixels and activations away from that of
    full images, on which the network is used later; sparse convolution takes
    the visible positions only (arXiv 2309.09571; SparK, arXiv 2301.03580).

    Args:
        model (HGKD): The model; left in its training or evaluation mode.
        inputs (Tensor): Preprocessed images, ``(B, 3, H, W)``.
        draw (int): Number of the mask, see :meth:`HGKD.predict`.
            Defaults to 0.
        bins (int): Bins of a histogram. Defaults to 64.

    Returns:
        list[IntensityHistogram]: Pixels, then each stage of the backbone.
    """
    mask = model.mask.draw(len(inputs), *inputs.shape[2:], draw, inputs.device)
    visible = mask.visible(1)
    filled = inputs * visible
    training = model.training
    model.eval()
    try:
        full, zero_filled = model.backbone(inputs), model.backbone(filled)
        sparse = [feature.rows() for feature in model.backbone(inputs, mask)]
    finally:
        model.train(training)
    seen = inputs.permute(0, 2, 3, 1)[visible[:, 0]]
    levels = [('pixels', inputs, filled, seen)]
    for maps in zip(full, zero_filled, sparse, strict=True):
        levels.append((f'stage {len(levels)}', *maps))
    return [
        _histogram(name, dict(zip(VIEWS, values, strict=True)), bins)
        for name, *values in levels
    ]


def _histogram(
    name: str, values: dict[str, Tensor], bins: int
) -> IntensityHistogram:
    arrays = {
        view: tensor.double().flatten().cpu().numpy()
        for view, tensor in values.items()
    }
    # A few extreme activations must not take all but one of the bins.
    low, high = np.percentile(arrays['full'], [0.1, 99.9])
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    shares = {
        view: np.histogram(array.clip(edges[0], edges[-1]), edges)[0]
        / len(array)
        for view, array in arrays.items()
    }
    shift = {
        view: float(np.abs(share - shares['full']).sum() / 2)
        for view, share in shares.items()
    }
    return IntensityHistogram(name, edges, shares, shift)


def draw_intensities(histograms: list[IntensityHistogram]) -> Figure:
    """Draw those of :func:`intensities` side by side, with their shifts."""
    figure = Figure((3.1 * len(histograms), 3.4), layout='constrained')
    axes = figure.subplots(1, len(histograms), squeeze=False)[0]
    for axis, histogram in zip(axes, histograms, strict=True):
        for view, share in histogram.shares.items():
            axis.stairs(
                share,
                histogram.edges,
                color=COLORS[view],
                linewidth=1.6,
                label=VIEWS[view],
            )
        axis.set_yscale('log')
        axis.spines[['top', 'right']].set_visible(False)
        axis.tick_params(labelsize=8)
        shift = histogram.shift
        title = (
            f'{histogram.name}\nshift: dense {shift["zero_filled"]:.3f}, '
            f'sparse {shift["sparse"]:.3f}'
        )
        axis.set_title(title, fontsize=9)
    axes[0].set_ylabel('share of values', fontsize=9)
    figure.supxlabel('intensity', fontsize=9)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc='outside upper center',
        ncols=len(VIEWS),
        frameon=False,
        fontsize=9,
    )
    return figure
