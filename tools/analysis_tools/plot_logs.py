"""Plot what runs have logged: losses, Pearson correlation, kNN, ..."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.report import RunRecord, curve_keys, draw_curves
from mmhgkd.runner import command_line
from mmhgkd.utils import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Plot; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('work_dirs', nargs='+', help='work folders, a line each')
    add('--keys', nargs='+', help='what to plot; defaults to everything')
    add('--list', action='store_true', help='print the keys and plot nothing')
    kinds = 'file to write (.png, .svg, .pdf); defaults to curves.png'
    add('--out', default='curves.png', help=kinds)
    args = parser.parse_args(argv)
    try:
        records = [RunRecord(work_dir) for work_dir in args.work_dirs]
        if args.list:
            print('\n'.join(curve_keys(records)))
            return 0
        figure = draw_curves(records, args.keys)
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.out, dpi=150)
    except (ConfigError, OSError, ValueError) as error:
        return command_line.report(error)
    print(f'drawn to {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
