"""Time the whole distillation step with each backend of the student.

A step is the teacher's forward pass, the student's encoder, the decoder, the
losses with a full queue, the backward pass, clipping and the optimizer of
``configs/hgkd/r50_mae.py``. The neighbors are the same step with MMPretrain's
SparseResNet as the encoder, and with a dense encoder of the same size that
sees the whole image. Images and weights are random: only the speed means
anything.

Every row runs in a process of its own. The processes take turns, one step
each, so that a machine that slows down slows all of them, and the table has
the median of their steps.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import common
import torch
from common import Numbers
from mmengine.config import Config
from mmpretrain.models import ResNet
from mmpretrain.models.backbones import SparseResNet as PeerSparseResNet
from mmpretrain.models.utils.sparse_modules import SparseHelper
from student_speed import DENSE, PEERS, add_rows, choose_rows
from torch import Tensor
from training_step import TrainingStep

from mmhgkd.backbones import SparseResNet
from mmhgkd.backbones.backends import BACKENDS
from mmhgkd.masks import RandomUnitMask, UnitMask
from mmhgkd.runner.command_line import report
from mmhgkd.sparse import MaskedFeature
from mmhgkd.utils import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
TEACHERS = {
    'vit-s': ('deit-small', 384),
    'vit-b': ('base', 768),
    'vit-l': ('large', 1024),
}
"""Architecture and width of each teacher."""


class PeerBackbone(PeerSparseResNet):
    """MMPretrain's SparseResNet as the student of HGKD."""

    def forward(self, x: Tensor, mask: UnitMask) -> tuple[MaskedFeature, ...]:
        """Compute the features of all stages of a masked image."""
        SparseHelper._cur_active = mask.visible(mask.unit)
        return _features(super().forward(x * mask.visible(1)), x, mask)


class DenseBackbone(ResNet):
    """A dense ResNet as the student of HGKD, for a mask that hides nothing."""

    def forward(self, x: Tensor, mask: UnitMask) -> tuple[MaskedFeature, ...]:
        """Compute the features of all stages."""
        return _features(super().forward(x), x, mask)


def _features(
    maps: Sequence[Tensor], images: Tensor, mask: UnitMask
) -> tuple[MaskedFeature, ...]:
    return tuple(
        MaskedFeature(x, mask, images.size(2) // x.size(2)) for x in maps
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--depth',
        type=int,
        choices=list(SparseResNet.arch_settings),
        default=50,
        help='of the ResNet',
    )
    parser.add_argument(
        '--teacher',
        choices=[*TEACHERS, 'none'],
        default='vit-b',
        help="none means SparK's step, with pixels as the target",
    )
    parser.add_argument(
        '--mask-ratio', type=float, default=0.6, help='share that is hidden'
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile teacher, encoder and decoder of every row',
    )
    add_rows(parser)
    common.add_arguments(parser)
    args = parser.parse_args(argv)
    choose_rows(parser, args)
    return args


def step_config(row: str, args: argparse.Namespace) -> Config:
    """Config of the model and the optimizer of a row."""
    name = 'spark/r50_pixels' if args.teacher == 'none' else 'hgkd/r50_mae'
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    model = cfg.model
    model.compile = args.compile
    if args.teacher in TEACHERS:
        arch, width = TEACHERS[args.teacher]
        model.teacher.update(checkpoint=None, allow_random=True)
        model.teacher.backbone.update(arch=arch, img_size=args.image_size)
        model.neck.out_channels = width
        model.head.embedding.update(in_channels=width, out_channels=width)
        model.head.queue.embed_dims = width
    expansion = 1 if args.depth < 50 else 4
    model.neck.in_channels = [
        expansion * width for width in (64, 128, 256, 512)
    ]
    model.mask.mask_ratio = args.mask_ratio
    model.backbone.update(depth=args.depth, out_indices=(0, 1, 2, 3))
    if row in BACKENDS:
        model.backbone.backend = row
    elif row in PEERS:
        model.backbone.update(
            type=PeerBackbone,
            norm_cfg=dict(type='mmpretrain.SparseBatchNorm2d'),
        )
    else:
        model.backbone.type = DenseBackbone
        # One visible unit, the whole image, so that no row is reordered.
        model.mask.update(unit=args.image_size, mask_ratio=0.0)
    return cfg


def build(row: str, args: argparse.Namespace) -> Callable[[], Numbers]:
    """Build the timed step of a row."""
    cfg = step_config(row, args)
    step = TrainingStep(cfg.model, cfg.optim_wrapper, args)
    side = args.image_size
    images = torch.randn(args.batch_size, 3, side, side, device=args.device)
    if row in (DENSE, PEERS[1]):
        step.model.backbone.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)

    def timed_step() -> Numbers:
        start = common.now(args.device)
        step(images)
        return dict(step_ms=1e3 * (common.now(args.device) - start))

    return timed_step


def summarize(
    steps: dict[str, list[Numbers]], batch_size: int
) -> dict[str, Numbers]:
    """Medians, and the speed relative to the neighbors in the same run."""
    table = {}
    for row, numbers in steps.items():
        median = statistics.median(step['step_ms'] for step in numbers)
        table[row] = dict(
            step_ms=median,
            images_per_second=1e3 * batch_size / median,
            peak_gib=max(step['peak_gib'] for step in numbers),
        )
    for name, rivals in (('mmpretrain', PEERS), (DENSE, (DENSE,))):
        times = [table[row]['step_ms'] for row in rivals if row in table]
        for numbers_of_row in table.values() if times else ():
            numbers_of_row[f'times_{name}'] = (
                min(times) / numbers_of_row['step_ms']
            )
    return table


def render(table: dict[str, Numbers]) -> str:
    """Lay the numbers out as a Markdown table."""
    columns: dict[str, tuple[str, str]] = dict(
        step_ms=('ms', '.0f'),
        images_per_second=('images/s', '.1f'),
        peak_gib=('peak GiB', '.2f'),
        times_mmpretrain=('x mmpretrain SparseResNet', '.2f'),
        times_dense=('x dense', '.2f'),
    )
    shown = [name for name in columns if name in next(iter(table.values()))]
    return common.markdown(
        ['encoder', *(columns[name][0] for name in shown)],
        [
            [row, *(format(numbers[name], columns[name][1]) for name in shown)]
            for row, numbers in table.items()
        ],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Time, print the table and write the numbers.

    Returns:
        int: The exit code.
    """
    args = parse_args(argv)
    try:
        # Refuses what does not fit before any process starts.
        RandomUnitMask(mask_ratio=args.mask_ratio).draw(
            1, args.image_size, args.image_size, index=0
        )
        steps = common.take_turns(build, args, args.rows)
    except ConfigError as error:
        return report(error)
    table = summarize(steps, args.batch_size)
    print(render(table))
    common.write_json(args, rows=table)
    return 0


if __name__ == '__main__':
    sys.exit(main())
