r"""Judge what different pre-trainings have taught a backbone.

Every backbone is frozen and sees whole images; scikit-learn reads what it
computes, with the same settings for all:

    python tools/benchmarks/judge.py ours.pth peer.pth --untrained 0 1 \
        --data data/photos/train --test data/photos/val --size 96

The embedding of an image is the mean of the last map. A dense position is the
second last map and the last one, resized to it, side by side.
"""

import argparse
import sys
from collections.abc import Sequence

import common
from judge_tasks import TASKS, Judge, Row
from mmengine.model import BaseModel
from mmengine.runner import set_random_seed
from mmpretrain import get_model

from mmhgkd.apis import build_student, load_student
from mmhgkd.report import to_markdown
from mmhgkd.runner.command_line import report
from mmhgkd.runner.empty_words import without_weights_told
from mmhgkd.teachers.checkpoint import (
    find_differences,
    read_state_dict,
    summarize,
)
from mmhgkd.utils import ConfigError

STUDENTS = tuple(f'resnet{depth}' for depth in (18, 34, 50, 101, 152))
_FIRST_BLOCK = 'layer1.0.conv1.weight'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'checkpoints',
        nargs='*',
        metavar='CHECKPOINT',
        help='of tools/train.py or of a peer, or a state dict of a ResNet '
        'of MMPretrain, torchvision or timm, which needs --student',
    )
    parser.add_argument(
        '--data', help='photos to learn from, one folder a class'
    )
    parser.add_argument(
        '--test', nargs='+', help='photos to classify; folders are pooled'
    )
    parser.add_argument(
        '--dense-data',
        metavar='FOLDER',
        help='images/{training,validation} and annotations/ beside it, as '
        'ADE20K; 0 is unlabelled',
    )
    parser.add_argument(
        '--tasks',
        nargs='+',
        choices=list(TASKS),
        help='by default all that the data allow',
    )
    parser.add_argument(
        '--size', type=int, default=96, help='side of the center crop'
    )
    parser.add_argument(
        '--positions',
        type=int,
        default=20000,
        help='dense positions to learn from, at most',
    )
    parser.add_argument(
        '--student',
        choices=STUDENTS,
        help='network of a checkpoint that does not hold its config',
    )
    parser.add_argument(
        '--width', type=int, default=64, help='base channels of --student'
    )
    parser.add_argument(
        '--untrained',
        type=int,
        nargs='+',
        default=[],
        metavar='SEED',
        help='judge random weights too, of the first network',
    )
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--json', metavar='OUT', help='file for the numbers')
    args = parser.parse_args(argv)
    folders = bool(args.data) and bool(args.test)
    if args.tasks is None:
        args.tasks = [
            task
            for task in TASKS
            if (args.dense_data if task == 'dense' else folders)
        ]
    if not args.tasks:
        parser.error('give --data and --test, or --dense-data')
    if 'dense' in args.tasks and not args.dense_data:
        parser.error('the task dense needs --dense-data')
    if set(args.tasks) - {'dense'} and not folders:
        parser.error('the tasks other than dense need --data and --test')
    if not args.checkpoints and not (args.untrained and args.student):
        parser.error('give a checkpoint, or --untrained and --student')
    if min(args.size, args.batch_size, args.positions, args.width) < 1:
        parser.error('sizes and counts must be at least 1')
    return args


def read_backbone(checkpoint: str, args: argparse.Namespace) -> BaseModel:
    """Load the student of a checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If it holds no student that is known.
    """
    try:
        return load_student(checkpoint)
    except ConfigError as error:
        if args.student is None:
            raise ConfigError(
                f'{error}; or name a ResNet by --student and --width'
            ) from error
    state = read_state_dict(checkpoint)
    prefixes = [
        key.removesuffix(_FIRST_BLOCK)
        for key in state
        if key.endswith(_FIRST_BLOCK)
    ]
    if len(prefixes) != 1:
        raise ConfigError(
            f'{checkpoint}: holds {len(prefixes)} ResNets '
            f'({", ".join(prefixes) or "no key " + _FIRST_BLOCK}); save the '
            'weights of one'
        )
    weights = {
        key.removeprefix(prefixes[0]): value
        for key, value in state.items()
        if key.startswith(prefixes[0])
    }
    student = new_student(args)
    # The counters of batch norms are in no old file and change nothing.
    own = {
        key: value
        for key, value in student.backbone.state_dict().items()
        if not key.endswith('num_batches_tracked')
    }
    weights = {
        key: value
        for key, value in weights.items()
        if not key.startswith(('fc.', 'head.'))
        and not key.endswith('num_batches_tracked')
    }
    lines = summarize(find_differences(own, weights))
    if lines:
        raise ConfigError(
            f'{checkpoint}: is no {args.student} of width {args.width} '
            f'({"; ".join(lines)}); change --student and --width'
        )
    student.backbone.load_state_dict(weights, strict=False)
    return student


def new_student(args: argparse.Namespace) -> BaseModel:
    """The network of ``--student`` and ``--width`` with random weights."""
    return build_student(
        args.student, base_channels=args.width, stem_channels=args.width
    )


def untrained(student: BaseModel, seed: int) -> BaseModel:
    """The same network with the random weights of a seed."""
    set_random_seed(seed)
    fresh = get_model(student._config)
    fresh.init_weights()
    return fresh


def render(rows: dict[str, Row], tasks: Sequence[str]) -> str:
    """Lay the numbers out as a Markdown table."""
    return to_markdown(
        [
            {'': name, **{TASKS[task]: f'{row[task]:.2f}' for task in tasks}}
            for name, row in rows.items()
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, print the table and write the numbers.

    Returns:
        int: The exit code.
    """
    args = parse_args(argv)
    rows: dict[str, Row] = {}
    try:
        with without_weights_told():
            students = {x: read_backbone(x, args) for x in args.checkpoints}
            first = next(iter(students.values()), None) or new_student(args)
            for seed in args.untrained:
                students[f'untrained, seed {seed}'] = untrained(first, seed)
            judge = Judge(
                args.tasks,
                args.data,
                args.test,
                args.dense_data,
                args.size,
                args.positions,
                args.batch_size,
            )
            for name, student in students.items():
                rows[name] = judge.judge(student)
    except (ConfigError, OSError) as error:
        return report(error)
    rows['majority class'] = judge.majority
    print(render(rows, args.tasks))
    common.save(args, rows=rows, photos=judge.counts)
    return 0


if __name__ == '__main__':
    sys.exit(main())
