"""How much the arms of a study differ, and how much of it is chance."""

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from mmhgkd.report.curves import COLORS, GRID, INK, MUTED
from mmhgkd.utils import ConfigError

from .words import BAND, HEADINGS

ACCURACIES = {
    'knn': 'kNN',
    'linear': 'linear',
    'finetune': 'fine-tune',
    'few_labels': '10 % labels',
    'few': '10 %, frozen',
    'dense': 'mIoU, frozen',
    'detect': 'box AP',
}
"""Headings; each is in percent."""
LEVEL = 0.95

# What `read_result` returns, by arm.
Rows = dict[str, list[dict[str, Any]]]


class Comparison(NamedTuple):
    """How much arms differ from a reference, and how much chance does."""

    #: Of the means over the seeds, by arm.
    differences: dict[str, float]
    #: Least significant difference: what two equal arms stay below in 19 of
    #: 20 comparisons.
    least: float
    #: Degrees of freedom of the estimate of the spread.
    freedom: int


def compare_results(rows: Rows, reference: str) -> dict[str, Comparison]:
    """Compare all accuracies with those of an arm, by their headings.

    What cannot be compared is left out.
    """
    found = {}
    for key, heading in ACCURACIES.items():
        values = {
            name: {
                result['settings']['seed']: result['metrics'][key]
                for result in results
                if key in result['metrics']
            }
            for name, results in rows.items()
        }
        comparison = compare_with_reference(values, reference)
        if comparison is not None:
            found[heading] = comparison
    return found


def compare_with_reference(
    values: Mapping[str, Mapping[int, float]], reference: str
) -> Comparison | None:
    """Compare a metric, by arm and seed, with that of an arm.

    A seed shares its order of images, its masks and its tenth of the labels
    among all arms, and three seeds of one arm say little about the spread. So
    the spread is what remains of all arms together when the mean of each arm
    and the mean of each seed are taken away (a two-way layout without
    interaction), and the difference of two means over ``S`` seeds has the
    variance ``2 / S`` times that (Fisher's least significant difference).

    Arms that lack a seed of the reference are left out. The result is None
    where there is no second arm or no second seed.
    """
    seeds = sorted(values.get(reference, {}))
    arms = [
        arm for arm in values if all(seed in values[arm] for seed in seeds)
    ]
    if len(seeds) < 2 or len(arms) < 2:
        return None
    table = np.array([[values[arm][seed] for seed in seeds] for arm in arms])
    means = table.mean(1)
    residual = table - means[:, None] - table.mean(0) + table.mean()
    freedom = (len(arms) - 1) * (len(seeds) - 1)
    spread = math.sqrt(float((residual**2).sum()) / freedom)
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    own = means[arms.index(reference)]
    differences = {
        arm: float(mean - own)
        for arm, mean in zip(arms, means, strict=True)
        if arm != reference
    }
    return Comparison(
        differences, quantile * spread * math.sqrt(2 / len(seeds)), freedom
    )


def write_picture(
    path: Path,
    rows: Rows,
    reference: str | None,
    words: Mapping[str, str] | None = None,
) -> None:
    """Write a drawing (.png, .svg, .pdf) of the differences from an arm.

    Args:
        path (Path): The file.
        rows (dict): What :func:`read_rows` returns.
        reference (str, optional): Name of the arm.
        words (dict, optional): Arms in words, by name.

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
        figure = draw_differences(found, reference, words or {})
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise ConfigError(f'cannot write the picture: {error}') from error


def draw_differences(
    comparisons: Mapping[str, Comparison],
    reference: str,
    words: Mapping[str, str],
) -> Figure:
    """Draw how much the arms of a study differ from one of them.

    A row an arm, a plot a metric, whose heading is its key; both in words
    where there are some. The gray band holds the differences that chance
    explains; arms outside it are in color.
    """
    base = words.get(reference, reference)
    names = list(next(iter(comparisons.values())).differences)
    labels = [words.get(name, name) for name in names]
    places = range(len(names), 0, -1)
    width = 2.2 * len(comparisons) + 2
    figure = Figure((width, 0.2 * len(names) + 1.6), layout='constrained')
    title = f'What changes a student: points above "{base}"'
    # Characters of these sizes, in inches.
    lines = [
        *textwrap.wrap(title, int(width / 0.11)),
        *textwrap.wrap(BAND, int(width / 0.075)),
    ]
    figure.suptitle('\n'.join(lines), x=0.01, ha='left', fontsize=9, color=INK)
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
        axis.set_title(
            HEADINGS.get(heading, heading), fontsize=8.5, color=INK, loc='left'
        )
        axis.set_xlabel('points above it', fontsize=8, color=MUTED)
        axis.set_yticks(places, labels, fontsize=8, color=INK)
        axis.tick_params(length=0, labelcolor=INK, labelsize=8)
        axis.grid(axis='y', color=GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[:].set_visible(False)
    return figure
