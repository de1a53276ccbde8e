"""Compare ways to pre-train a student, over several seeds.

The teacher is trained once; then each arm of the study is pre-trained,
evaluated by kNN and a linear probe, and fine-tuned with all labels and with a
tenth of them, or asked what the study says. Arms that have their result are
passed over, so that the same command goes on with a study that was
interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from studies.comparison import write_picture
from studies.run_study import StudyOptions, choose_arms, run_study
from studies.study_file import Teacher, read_study
from studies.table import read_rows, results_table, write_table

from mmhgkd.runner import command_line


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('study', help='YAML file, such as those in configs/study')
    add('--data-root', help='folder with images in {train,val}/CLASS')
    teacher = 'use this teacher and train none'
    add('--teacher', metavar='CHECKPOINT', help=teacher)
    add('--work-dir', help='defaults to work_dirs/study/NAME')
    add('--arms', nargs='+', help='run these only')
    add('--seeds', nargs='+', type=int, help='run these only')
    add('--jobs', type=int, default=1, help='arms that are run at once')
    add('--workers', type=int, help='processes that load images for a job')
    add(
        '--peers',
        metavar='PYTHON',
        help='of an environment that has lightly-train, for arms that are '
        'trained by it',
    )
    nothing = 'run nothing, and print the table of what is there'
    add('--table-only', action='store_true', help=nothing)
    add(
        '--page',
        help='Markdown file that receives the table, between the lines '
        '`<!-- table NAME -->` and `<!-- end -->`',
    )
    add(
        '--picture',
        help='file (.png, .svg, .pdf) that receives a drawing of the '
        "differences from the study's `reference`",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study; returns the exit code."""
    args = parse_args(argv)

    def body() -> None:
        study = read_study(args.study)
        if args.data_root:
            study.data_root = args.data_root
        if args.teacher:
            study.teacher = Teacher(checkpoint=args.teacher)
        work_dir = Path(args.work_dir or f'work_dirs/study/{study.name}')
        options = StudyOptions(
            work_dir,
            args.arms,
            args.seeds,
            args.jobs,
            args.workers,
            args.peers,
        )
        arms = choose_arms(study, args.arms)
        if not args.table_only:
            run_study(study, options)
        seeds = args.seeds or study.seeds
        table = results_table(work_dir, arms, seeds, study.reference)
        print(table, end='')
        if args.page:
            write_table(Path(args.page), study.name, table)
        if args.picture:
            write_picture(
                Path(args.picture),
                read_rows(work_dir, arms, seeds),
                study.reference,
                {arm.name: arm.label for arm in arms if arm.label},
            )

    return command_line.run_tool(body)


if __name__ == '__main__':
    sys.exit(main())
