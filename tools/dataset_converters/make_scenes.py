"""Make data sets of procedural scenes, without any download.

Example:
    ``python tools/dataset_converters/make_scenes.py data/scenes`` writes a
    data set for classification.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.datasets.scenes import TASKS, write_scenes
from mmhgkd.runner import command_line
from mmhgkd.utils import ConfigError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Make data sets of procedural scenes.'
    )
    parser.add_argument(
        'out',
        type=Path,
        help='folder of the data set; with --task all, its sub-folders cls, '
        'shapes, det and seg hold one each',
    )
    parser.add_argument(
        '--task',
        choices=(*TASKS, 'all'),
        default='cls',
        help='cls: one folder a class, shapes: the same with plain pictures, '
        'det: as MS COCO, seg: as ADE20K (default: %(default)s)',
    )
    for option, default, text in (
        ('--num-train', 5000, 'training pictures'),
        ('--num-val', 1000, 'validation pictures'),
        ('--image-size', 96, 'side of the pictures in pixels'),
        ('--seed', 0, 'seed of the scenes'),
        ('--workers', 1, 'processes that draw'),
    ):
        parser.add_argument(
            option,
            type=int,
            default=default,
            help=f'{text} (default: %(default)s)',
        )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data sets and say where they lie.

    Returns:
        int: The exit code.
    """
    args = parse_args(argv)
    roots = {args.task: args.out}
    if args.task == 'all':
        roots = {task: args.out / task for task in TASKS}
    for task, root in roots.items():
        try:
            root = write_scenes(
                root,
                task,
                args.num_train,
                args.num_val,
                args.image_size,
                args.seed,
                args.workers,
            )
        except ConfigError as error:
            return command_line.report(error)
        print(f'{task}: {root}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
