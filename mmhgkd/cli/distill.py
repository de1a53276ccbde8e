"""From photos without labels to a student that someone can judge.

    mmhgkd distill photos/ --out out/

finds the photos, chooses what you leave open and says why, trains, compares
student and teacher, and writes the student for torchvision, timm and ONNX
and a report.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmhgkd.catalog import (
    METRICS,
    ROWS,
    TWINS,
    check_numbers,
    find_photos,
    find_teacher,
    student_name,
    twin_names,
)
from mmhgkd.catalog.teachers import SHIPPED
from mmhgkd.utils import ConfigError

from .arguments import Parser, checked, print_table, quiet_import

if TYPE_CHECKING:
    from mmhgkd.apis import Distillation


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser('distill', description=__doc__)
    add = parser.add_argument
    photos = 'a folder, a "quoted/**/*.jpg" pattern, or a list in a .txt file'
    add('photos', nargs='+', help=photos)
    add('--out', required=True, help='folder for everything that is written')
    add('--student', help='one of `mmhgkd students`; chosen by default')
    teacher = 'one of `mmhgkd teachers`, or a checkpoint; by default one that '
    teacher += 'is on this machine, else the small one of mmhgkd'
    add('--teacher', default='auto', metavar='NAME|FILE', help=teacher)
    own = 'train a small teacher on the photos first'
    add('--train-teacher', action='store_true', help=own)
    start = 'weights that the student starts from, such as supervised ones'
    add('--student-weights', metavar='FILE', help=start)
    add('--epochs', type=int, help='chosen by the number of photos')
    size = 'images of a batch; the learning rate follows'
    add('--batch-size', type=int, help=size)
    add('--image-size', type=int, help='what the student sees, in pixels')
    seen = 'how often the student sees a photo for one pass of the teacher'
    add('--views', type=int, help=seen)
    twins = f'what else to train the same student on: {", ".join(TWINS)}'
    add('--compare', metavar='NAME,NAME', help=twins)
    add('--workers', type=int, help='processes that load photos')
    add('--seed', type=int)
    add('--resume', action='store_true', help='go on with what lies in OUT')
    add('--no-export', action='store_true', help='write no other formats')
    args = parser.parse_args(argv)
    if len(args.photos) == 1:
        args.photos = args.photos[0]
    return args


def check(args: argparse.Namespace) -> None:
    """What can be wrong is found before anything slow is imported."""
    if not args.out:
        raise ConfigError('--out is empty; give a folder')
    if args.student is not None:
        student_name(args.student)
    twin_names(args.compare)
    check_numbers(vars(args), as_flags=True)
    weights = args.student_weights
    if weights is not None and not Path(weights).expanduser().is_file():
        raise ConfigError(f'--student-weights {weights}: no such file')
    if args.train_teacher and args.teacher != 'auto':
        raise ConfigError('give --teacher or --train-teacher, not both')
    if (
        args.teacher not in ('auto', SHIPPED)
        and not Path(args.teacher).expanduser().is_file()
    ):
        find_teacher(args.teacher)
    args.found = find_photos(args.photos, without=args.out)
    twin_names(args.compare, args.found)


def main(argv: Sequence[str] | None = None) -> int:
    """Distil; returns the exit code."""
    args = parse_args(argv)
    if code := checked(lambda: check(args)):
        return code
    print('Starting ...', flush=True)
    with quiet_import():
        from mmhgkd.apis import distill
        from mmhgkd.runner.command_line import run_tool

    def run() -> None:
        result = distill(
            args.found,
            args.out,
            args.student,
            args.teacher,
            args.epochs,
            args.batch_size,
            args.image_size,
            args.train_teacher,
            args.student_weights,
            args.workers,
            args.seed,
            args.resume,
            export=not args.no_export,
            say=say,
            views=args.views,
            compare=args.compare,
        )
        show(result, args.photos)

    return run_tool(run)


def say(line: str) -> None:
    """Print a line; a warning stands out where there are colors."""
    from rich.console import Console

    style = 'bold red' if line.startswith('WARNING') else None
    Console(soft_wrap=True).print(
        line, style=style, markup=False, highlight=False
    )


def show(result: 'Distillation', photos: str | list[str]) -> None:
    """Print the comparison, the files and what to do next."""
    from mmhgkd.report import describe_change

    if any(result.metrics.values()):
        print('\nFrozen features, compared:\n')
        show_metrics(result.metrics)
    change = describe_change(vars(result))
    if change:
        print(f'\n{change}')
    print('\nFiles:\n')
    files = [('student', result.checkpoint), *result.exports.items()]
    if result.report is not None:
        files.append(('report', result.report))
    print_table([name, str(path)] for name, path in files)
    for note in result.notes:
        print(f'note: {note}')
    folder = photos if isinstance(photos, str) else 'PHOTOS'
    print(f'\nNext: mmhgkd demo {result.folder} --images {folder}')


def show_metrics(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print a comparison, a student a row, and what it means."""
    keys = [k for k in METRICS if any(k in row for row in metrics.values())]
    print_table(
        [
            ['', *(METRICS[key][0] for key in keys), ''],
            *(
                [
                    name,
                    *(f'{row[k]:.1f}' if k in row else '' for k in keys),
                    ROWS.get(name, ''),
                ]
                for name, row in metrics.items()
            ),
        ]
    )
    print()
    print_table([METRICS[key][0], METRICS[key][1]] for key in keys)
