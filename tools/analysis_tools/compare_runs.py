"""Print what runs have reached, as a table in Markdown or CSV."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.report import RunRecord, compare_runs, to_csv, to_markdown
from mmhgkd.runner import command_line
from mmhgkd.utils import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('work_dirs', nargs='+', help='work folders, a row each')
    add('--out', help='file to write too: .csv, or anything else for Markdown')
    args = parser.parse_args(argv)
    try:
        rows = compare_runs([RunRecord(folder) for folder in args.work_dirs])
        if args.out:
            write = to_csv if args.out.endswith('.csv') else to_markdown
            path = Path(args.out)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write(rows), encoding='utf-8')
    except (ConfigError, OSError) as error:
        return command_line.report(error)
    print(to_markdown(rows), end='')
    return 0


if __name__ == '__main__':
    sys.exit(main())
