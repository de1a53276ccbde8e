from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mmhgkd.report.curves import COLORS, GRID, INK, MUTED
from mmhgkd.utils import ConfigError

from .comparison import Comparison
from .table import Rows, compare_results


def write_picture(path: Path, rows: Rows, reference: str | None) -> None:
    """Write a drawing of the differences from the reference of a study.

    Args:
        path (Path): File to write (.png, .svg, .pdf).
        rows (dict[str, list[dict]]): Of :func:`read_rows`.
        reference (str, optional): Arm that the others are compared with.

    Raises:
        ConfigError: If there is nothing to compare, or the file cannot be
            written.
    """
    found = reference and compare_results(rows, reference)
    if not reference or not found:
        raise ConfigError(
            'a picture needs a `reference` in the study, and results of it '
            'and of another arm with the same two seeds or more'
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_differences(found, reference).savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise ConfigError(f'cannot write the picture: {error}') from error


def draw_differences(
    comparisons: Mapping[str, Comparison], reference: str
) -> Figure:
    """Draw how much the arms of a study differ from one of them.

    A row an arm, a plot a metric. The gray band holds the differences that
    chance explains; arms outside it are drawn in color.

    Args:
        comparisons (Mapping[str, Comparison]): By the heading of the metric,
            all of the same arms.
        reference (str): Name of the arm that they are compared with.

    Returns:
        Figure: The figure.
    """
    names = list(next(iter(comparisons.values())).differences)
    places = range(len(names), 0, -1)
    figure = Figure(
        (2.2 * len(comparisons) + 2, 0.2 * len(names) + 1),
        layout='constrained',
    )
    axes = figure.subplots(1, len(comparisons), sharey=True, squeeze=False)[0]
    for axis, (heading, comparison) in zip(
        axes, comparisons.items(), strict=True
    ):
        least = comparison.least
        axis.axvspan(-least, least, color=GRID, alpha=0.6, linewidth=0)
        axis.axvline(0, color=MUTED, linewidth=0.8)
        values = [comparison.differences[name] for name in names]
        colors = np.select(
            [np.greater(values, least), np.less(values, -least)],
            COLORS[:2],
            MUTED,
        )
        axis.scatter(values, places, c=colors, s=18, zorder=3)
        axis.set_title(heading, fontsize=10, color=INK, loc='left')
        axis.set_xlabel(f'points above {reference}', fontsize=8, color=MUTED)
        axis.set_yticks(places, names, fontsize=8, color=INK)
        axis.tick_params(length=0, labelcolor=INK, labelsize=8)
        axis.grid(axis='y', color=GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[:].set_visible(False)
    return figure
