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
        description='Make data sets of procedural scenes.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        'out',
        type=Path,
        help='folder of the data set; with --task all, its sub-folders cls, '
        'shapes, det and seg hold one each',
    )
    kinds = (
        'cls: one folder a class, shapes: the same with plain pictures, '
        'det: as MS COCO, seg: as ADE20K'
    )
    add('--task', choices=(*TASKS, 'all'), default='cls', help=kinds)
    add('--num-train', type=int, default=5000, help='training pictures')
    add('--num-val', type=int, default=1000, help='validation pictures')
    add('--image-size', type=int, default=96, help='side in pixels')
    add('--seed', type=int, default=0, help='seed of the scenes')
    add('--workers', type=int, default=1, help='processes that draw')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data sets and say where they lie; returns the exit code."""
    options = vars(parse_args(argv))
    out, task = options.pop('out'), options.pop('task')
    roots = {task: out}
    if task == 'all':
        roots = {task: out / task for task in TASKS}
    for task, root in roots.items():
        try:
            root = write_scenes(root, task, **options)
        except ConfigError as error:
            return command_line.report(error)
        print(f'{task}: {root}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
