"""Draw what teacher and student of a run see, a row per image."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.runner import command_line
from mmhgkd.visualization import save_model_panel
from mmhgkd.visualization.saliency import SOURCES
from mmhgkd.visualization.trained_model import open_run, run_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; returns the exit code."""
    parser = run_parser(__doc__, 'panel.png', 4)
    add = parser.add_argument
    add('--draw', type=int, default=0, help='number of the mask')
    drivers = 'add the visible units that drive a hidden token'
    add('--saliency', choices=SOURCES, help=drivers)
    args = parser.parse_args(argv)
    try:
        model, inputs = open_run(args)
        out = Path(args.out or Path(args.work_dir) / 'panel.png')
        save_model_panel(out, model, inputs, args.draw, args.saliency)
    except (OSError, ValueError) as error:
        return command_line.report(error)
    print(f'{len(inputs)} images drawn to {out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
