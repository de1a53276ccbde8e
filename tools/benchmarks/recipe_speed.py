"""Time the step of the recommended recipe against what else trains a student.

Each row is a whole step of its own recipe, with the same teacher (ViT-B/16)
and student (ResNet-50): the teacher's forward pass, the student, decoder or
projection, the loss, the backward pass, clipping and the optimizer.

- `recommended`: `configs/hgkd/r50_mae.py` as it is: half as many images,
  which the student sees twice each, and a teacher in bfloat16 where the device
  has products of it.
- `float32`: the same with a teacher in the precision of all rows (`--dtype`).
- `one view`: `float32` with each image once.
- `grid decoder`: each image once, and a generative decoder on the teacher's
  grid that predicts the tokens of the hidden 60 % of an image.
- `grid decoder, two views`: that with each image twice.
- `paper`: `configs/hgkd/r50_mae_paper.py` as it is.
- `mmpretrain`: that with MMPretrain's SparseResNet as the encoder.
- `lightly-train`: its `distillationv2` on whole images, where it is
  installed, see docs/peers.md.

The neighbors also run with the student and images in channels-last memory,
and the ratios are to the faster of the two. Rows take turns, each in its own
process. Images and weights are random.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import common
import step_speed
import torch
from common import Numbers
from mmengine.config import Config
from training_step import TrainingStep

from mmhgkd.runner.command_line import report
from mmhgkd.utils import ConfigError

sys.path.append(str(Path(__file__).parent / 'peers'))

CHANNELS_LAST = ' channels_last'
PEERS = ('mmpretrain', 'lightly-train')
GRID, TWO_VIEWS = 'grid decoder', ', two views'
#: Changes of the recommended recipe, with a teacher as precise as the rest.
CHANGED = ('float32', 'one view', GRID, GRID + TWO_VIEWS)
OURS = ('recommended', *CHANGED, 'paper')
CONFIGS = {
    'paper': 'hgkd/r50_mae_paper',
    PEERS[0]: 'hgkd/r50_mae_paper',
}
ROWS = (
    *OURS,
    *(peer + form for peer in PEERS for form in ('', CHANNELS_LAST)),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = common.make_parser(__doc__, ROWS)
    parser.add_argument(
        '--teacher',
        choices=list(step_speed.TEACHERS),
        default='vit-b',
        help='size of the teacher',
    )
    args = parser.parse_args(argv)
    if args.batch_size % 2:
        parser.error('--batch-size must be even, for two views of an image')
    if args.plot or args.busy:
        parser.error('there is no --plot and no --busy; leave them out')
    installed = importlib.util.find_spec('lightly_train') is not None
    for row in args.rows or ():
        if row.startswith(PEERS[1]) and not installed:
            parser.error(
                f'the row {row!r} needs lightly-train, see docs/peers.md'
            )
    args.rows = args.rows or [
        row for row in ROWS if installed or not row.startswith(PEERS[1])
    ]
    return args


def recipe(row: str, args: argparse.Namespace) -> Config:
    """Config of the model and the optimizer of a row with ours."""
    name = CONFIGS.get(row.removesuffix(CHANNELS_LAST), 'hgkd/r50_mae')
    cfg = Config.fromfile(step_speed.CONFIGS / f'{name}.py')
    ratio = cfg.model.mask.mask_ratio
    if row in CHANGED:
        cfg.model.teacher.precision = 'training'
    if row == 'one view':
        cfg.model.views = 1
    if row.startswith(GRID):
        cfg.model.views = 2 if row.endswith(TWO_VIEWS) else 1
        ratio = 0.6
        cfg.model.neck = dict(type='mmhgkd.GridNeck')
        cfg.model.head.feature_loss = dict(type='mmhgkd.FeatureImitationLoss')
    options = argparse.Namespace(**vars(args), mask_ratio=ratio)
    backend = row if row in common.PEERS else 'packed'
    return step_speed.adapt(cfg, backend, options)


def build(row: str, args: argparse.Namespace) -> Callable[[], Numbers]:
    """Build the timed step of a row."""
    side, count = args.image_size, args.batch_size
    update: Callable[[Any], object]
    if row.startswith(PEERS[1]):
        from lightly_step import LightlyStep

        peer = LightlyStep(recipe(OURS[0], args).model, args)
        student, forward, update = peer.student, peer.forward, peer.update
    else:
        cfg = recipe(row, args)
        step = TrainingStep(cfg.model, cfg.optim_wrapper, args)
        student, forward = step.model.backbone, step.forward
        update = step.optim_wrapper.update_params
        count //= step.model.views
    images = torch.randn(count, 3, side, side, device=args.device)
    if row.endswith(CHANNELS_LAST):
        student.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)

    def timed_step() -> Numbers:
        start = common.now(args.device)
        update(forward(images))
        return dict(step_ms=1e3 * (common.now(args.device) - start))

    return timed_step


def summarize(
    steps: dict[str, list[Numbers]], batch_size: int
) -> dict[str, Numbers]:
    """Medians, and the speed relative to the faster form of each peer."""
    forms = {peer: (peer, peer + CHANNELS_LAST) for peer in PEERS}
    return common.summarize(steps, batch_size, forms)


def render(table: dict[str, Numbers]) -> str:
    """Lay the numbers of the rows out as a Markdown table."""
    columns = {**common.COLUMNS, 'times_lightly-train': ('x lightly', '.2f')}
    return common.render(table, 'recipe', columns)


def main(argv: Sequence[str] | None = None) -> int:
    """Time, print the table and write the numbers; returns the exit code."""
    args = parse_args(argv)
    try:
        steps = common.take_turns(build, args)
    except ConfigError as error:
        return report(error)
    table = summarize(steps, args.batch_size)
    print(render(table), end='')
    common.save(args, rows=table)
    return 0


if __name__ == '__main__':
    sys.exit(main())
