"""Write a run as one HTML file that opens without a network."""

from collections.abc import Sequence
from pathlib import Path

from mmhgkd.utils import ConfigError

from .arguments import Parser, complain


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; returns the exit code."""
    parser = Parser('report', description=__doc__)
    add = parser.add_argument
    add('work_dir', help='folder of any run of `mmhgkd distill` or `train`')
    add('--out', help='file to write; defaults to WORK_DIR/report.html')
    frames = 'first write the panels of PanelHook as WORK_DIR/epochs.webp'
    add('--animation', action='store_true', help=frames)
    args = parser.parse_args(argv)
    if not Path(args.work_dir).is_dir():
        return complain(
            ConfigError(
                f'there is no folder {args.work_dir}; pass that of a run'
            )
        )
    from mmhgkd.report import RunRecord, html_report, save_animation

    try:
        record = RunRecord(args.work_dir)
        if args.animation:
            save_animation(record)
        out = Path(args.out or record.folder / 'report.html')
        page = html_report(record)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding='utf-8')
    except (ConfigError, OSError) as error:
        return complain(error)
    print(f'report written to {out} ({out.stat().st_size / 1e6:.1f} MB)')
    return 0
