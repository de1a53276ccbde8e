from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmhgkd.utils import ConfigError

from .run_record import RunRecord

COLORS = (
    '#2a78d6',
    '#eb6834',
    '#1baf7a',
    '#eda100',
    '#e87ba4',
    '#008300',
    '#4a3aa7',
    '#e34948',
)
STYLES = ('-', '--', ':', '-.')
INK, MUTED, GRID = '#0b0b0b', '#52514e', '#e1e0d9'
# Of no interest over time, or said elsewhere.
_LEFT_OUT = ('iter', 'step', 'epoch', 'time', 'data_time', 'memory', 'base_lr')
_FIRST = ('loss', 'loss_feat', 'loss_sim', 'pearson', 'embedding_cosine')
_LAST = ('lr', 'grad_norm', 'self_variance_share')


def curve_keys(records: Sequence[RunRecord]) -> list[str]:
    """Keys that are worth a curve: losses, metrics, then the rest."""
    found: dict[str, None] = {}
    for record in records:
        for row in [*record.training, *record.evaluations.values()]:
            found.update(dict.fromkeys(row))
    other = [key for key in found if key not in (*_FIRST, *_LAST, *_LEFT_OUT)]
    order = [*_FIRST, *other, *_LAST]
    return [key for key in order if key in found]


def draw_curves(
    records: Sequence[RunRecord],
    keys: Sequence[str] | None = None,
    columns: int = 3,
) -> Figure:
    """Draw logged values over the training, a plot a key, a line a run.

    Args:
        records (Sequence[RunRecord]): The runs.
        keys (Sequence[str], optional): What to draw. Defaults to None, which
            means all of :func:`curve_keys`.
        columns (int): Plots side by side. Defaults to 3.

    Raises:
        ConfigError: If no run has a key.
    """
    known = curve_keys(records)
    chosen = known if keys is None else list(keys)
    for key in chosen:
        if not any(record.series(key)[0] for record in records):
            raise ConfigError(
                f'no run has logged {key!r}; there are {", ".join(known)}'
            )
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    several = len(records) > 1
    figure = Figure(
        (3.6 * columns, 2.5 * rows + 0.4 * several), layout='constrained'
    )
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, key in zip(axes, chosen, strict=False):
        draw_curve(axis, key, records)
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    if several:
        # Not every run has every key, so no plot knows all lines.
        lines = {
            line.get_label(): line
            for axis in axes
            for line in axis.get_lines()
        }
        figure.legend(
            list(lines.values()),
            list(lines),
            loc='outside upper center',
            ncols=min(4, len(lines)),
            frameon=False,
            fontsize=9,
        )
    return figure


def draw_curve(axis: Axes, key: str, records: Sequence[RunRecord]) -> None:
    """Draw one key of the runs."""
    by_epoch = all(record.by_epoch for record in records)
    labels = run_labels(records)
    for index, (record, label) in enumerate(zip(records, labels, strict=True)):
        steps, values = record.series(key)
        if not steps:
            continue
        x = np.array(steps) / (record.epoch_length if by_epoch else 1)
        if len(x) == 1:
            # One value is a level, on an axis that begins with the training.
            x, values = np.array([0, x[0]]), 2 * values
        axis.plot(
            x,
            values,
            STYLES[index // len(COLORS) % len(STYLES)],
            color=COLORS[index % len(COLORS)],
            linewidth=1.8,
            marker='o' if len(x) <= 30 else '',
            markersize=3,
            label=label,
        )
        if len(records) == 1:
            axis.set_title(
                f'{values[-1]:.4g}', fontsize=9, color=MUTED, loc='right'
            )
    axis.set_title(key, fontsize=10, color=INK, loc='left')
    axis.set_xlabel(
        'epoch' if by_epoch else 'iteration', fontsize=8, color=MUTED
    )
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.margins(y=0.15)
    axis.tick_params(labelsize=8, colors=MUTED, length=0)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[:].set_color(GRID)
    axis.spines[['top', 'right']].set_visible(False)


def run_labels(records: Sequence[RunRecord]) -> list[str]:
    """Names of the runs, with as much of their path as tells them apart."""
    paths = [record.folder.resolve() for record in records]
    depths = range(1, max((len(path.parts) for path in paths), default=1) + 1)
    labels: list[str] = []
    for depth in depths:
        labels = ['/'.join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(set(paths)):
            break
    return labels
