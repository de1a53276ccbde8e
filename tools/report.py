"""Write a run as one HTML file that opens without a network."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.report import RunRecord, html_report
from mmhgkd.runner import command_line
from mmhgkd.utils import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('work_dir', help='work folder of any run of tools/train.py')
    add('--out', help='file to write; defaults to WORK_DIR/report.html')
    args = parser.parse_args(argv)
    try:
        record = RunRecord(args.work_dir)
        out = Path(args.out or record.folder / 'report.html')
        page = html_report(record)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding='utf-8')
    except (ConfigError, OSError) as error:
        return command_line.report(error)
    print(f'report written to {out} ({out.stat().st_size / 1e6:.1f} MB)')
    return 0


if __name__ == '__main__':
    sys.exit(main())
