"""Draw what ``judge.py`` has found about several pre-trainings.

    python tools/benchmarks/plot_judge.py docs/peers/photos.json photos.png

The file has the figures of each row by seed, in percent, in the order from
the bottom to the top. A bar is the mean over the seeds, its line the
standard deviation, and a number the mean.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mmhgkd.runner.command_line import report
from mmhgkd.utils import ConfigError

OURS, PEER, REFERENCE = '#0f766e', '#94a3b8', '#d6b98c'
COLORS = dict(ours=OURS, peer=PEER, reference=REFERENCE)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('figures', type=Path, help='JSON of the figures')
    parser.add_argument('out', type=Path, help='picture, .png or .svg')
    return parser.parse_args(argv)


def draw(content: dict[str, Any]) -> Figure:
    """Draw a panel of bars for each task.

    Args:
        content (dict): ``tasks`` maps a key to the title of its panel, and
            ``rows`` has dicts of ``name``, ``kind`` (a key of ``COLORS``)
            and ``seeds``, a list of figures by task.

    Raises:
        ConfigError: If a row lacks the figures of a task.
    """
    tasks, rows = content['tasks'], content['rows']
    figure = Figure(
        figsize=(3.2 + 2.6 * len(tasks), 0.8 + 0.36 * len(rows)),
        layout='constrained',
    )
    figure.suptitle(content['title'], fontsize='medium')
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for panel, (task, title) in zip(panels, tasks.items(), strict=True):
        for place, row in enumerate(rows):
            values = [seed[task] for seed in row['seeds'] if task in seed]
            if not values:
                raise ConfigError(
                    f'the row {row["name"]!r} has no figure of {task!r}; add '
                    'it, or leave the task out'
                )
            mean = statistics.mean(values)
            spread = statistics.stdev(values) if len(values) > 1 else 0
            panel.barh(
                place,
                mean,
                xerr=spread or None,
                color=COLORS[row['kind']],
                height=0.7,
            )
            # A half is rounded up, as in the tables.
            shown = f'{mean + 1e-9:.1f}'
            panel.text(mean + spread + 1, place, shown, va='center')
        panel.set_title(title, fontsize='small')
        panel.set_xlim(0, 100)
        panel.spines[['top', 'right']].set_visible(False)
        panel.set_yticks(range(len(rows)), [row['name'] for row in rows])
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the picture; returns the exit code."""
    args = parse_args(argv)
    try:
        figure = draw(json.loads(args.figures.read_text()))
        figure.savefig(args.out, dpi=150)
    except (ConfigError, OSError) as error:
        return report(error)
    return 0


if __name__ == '__main__':
    sys.exit(main())
