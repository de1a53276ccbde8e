"""Time the whole distillation step with each backend of the student.

A step is the teacher's forward pass, the student's encoder, the decoder, the
losses with a full queue, the backward pass, clipping and the optimizer of
``configs/hgkd/r50_mae_paper.py``. The neighbors are the same step with
MMPretrain's SparseResNet as the encoder, and with a dense encoder of the same
size that sees the whole image. Images and weights are random: only the speed
means anything.

Every row runs in a process of its own. The processes take turns, so that a
machine that slows down slows all of them, and the table has the median of
their steps.

With ``--profile`` the step is that of a config, with images that come through
its pipeline, and the table has the parts of it, see ``step_profile.py``.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import common
import step_profile
import torch
from common import DENSE, PEERS, STAGES, Numbers
from mmengine.config import Config
from mmpretrain.models import ResNet
from mmpretrain.models.backbones import SparseResNet as PeerSparseResNet
from mmpretrain.models.utils.sparse_modules import SparseHelper
from torch import Tensor
from training_step import TrainingStep

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
# What only one of the two kinds of measurement takes.
STEP_OPTIONS = (
    'depth',
    'image_size',
    'compile',
    'teacher',
    'mask_ratio',
    'config',
)
PROFILE_OPTIONS = ('data_root', 'images', 'plot')


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
    parser = common.make_parser(__doc__)
    add = parser.add_argument
    add(
        '--teacher',
        choices=[*TEACHERS, 'none'],
        default='vit-b',
        help="none means SparK's step, with pixels as the target",
    )
    add(
        '--config',
        choices=['hgkd/r50_mae', 'hgkd/r50_mae_paper'],
        default='hgkd/r50_mae_paper',
        help='whose losses and decoder',
    )
    add(
        '--mask-ratio',
        type=float,
        help='share that is hidden, by default that of the config',
    )
    add(
        '--profile',
        metavar='CONFIG',
        help='time the parts of the step of a config instead, and its data '
        'pipeline; --rows then names a backend for its student',
    )
    add('--data-root', metavar='FOLDER', help='images for --profile')
    add('--images', type=int, default=16, help='to draw, or to read')
    args = parser.parse_args(argv)
    for name in STEP_OPTIONS if args.profile else PROFILE_OPTIONS:
        if getattr(args, name) != parser.get_default(name):
            option = f'--{name.replace("_", "-")}'
            parser.error(
                f'{option} is in the config of --profile; change it there'
                if args.profile
                else f'{option} belongs to --profile; add it'
            )
    if args.profile and args.busy:
        parser.error('--busy is not for --profile; leave it out')
    if not args.profile:
        common.choose_rows(parser, args)
    elif args.rows and (len(args.rows) > 1 or args.rows[0] not in BACKENDS):
        parser.error(
            f'--profile takes one of the rows {", ".join(BACKENDS)}, '
            f'got {" ".join(args.rows)}'
        )
    return args


def step_config(row: str, args: argparse.Namespace) -> Config:
    """Config of the model and the optimizer of a row."""
    name = 'spark/r50_pixels' if args.teacher == 'none' else args.config
    return adapt(Config.fromfile(CONFIGS / f'{name}.py'), row, args)


def adapt(cfg: Config, row: str, args: argparse.Namespace) -> Config:
    """Give a config the encoder of a row, and the sizes of the options."""
    channels = [
        (1 if args.depth < 50 else 4) * width for width in (64, 128, 256, 512)
    ]
    model = cfg.model
    model.compile = args.compile
    if args.teacher in TEACHERS:
        arch, width = TEACHERS[args.teacher]
        model.teacher.update(checkpoint=None, allow_random=True)
        model.teacher.backbone.update(arch=arch, img_size=args.image_size)
        if 'direct_loss' in model.head:
            model.head.direct_loss.out_channels = width
        if 'neck' in model:
            model.neck.out_channels = width
        if 'embedding' in model.head:
            model.head.embedding.update(in_channels=width, out_channels=width)
            model.head.queue.embed_dims = width
    if 'direct_loss' in model.head:
        model.head.direct_loss.in_channels = channels[-2:]
    if 'neck' in model:
        model.neck.in_channels = channels
    if args.mask_ratio is not None:
        model.mask.mask_ratio = args.mask_ratio
    model.backbone.update(depth=args.depth, out_indices=STAGES)
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
        # It sees each image once, as neighbors with a dense student do.
        model.views = 1
        if model.head.get('feature_loss'):
            model.head.feature_loss.region = 'all'
    return cfg


def build(row: str, args: argparse.Namespace) -> Callable[[], Numbers]:
    """Build the timed step of a row."""
    cfg = step_config(row, args)
    step = TrainingStep(cfg.model, cfg.optim_wrapper, args)
    side, count = args.image_size, args.batch_size // step.model.views
    images = torch.randn(count, 3, side, side, device=args.device)
    if row in (DENSE, PEERS[1]):
        step.model.backbone.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)

    def timed_step() -> Numbers:
        start = common.now(args.device)
        step.optim_wrapper.update_params(step.forward(images))
        return dict(step_ms=1e3 * (common.now(args.device) - start))

    return timed_step


def main(argv: Sequence[str] | None = None) -> int:
    """Time, print the table and write the numbers; returns the exit code."""
    args = parse_args(argv)
    try:
        if args.profile:
            step_profile.run(args)
            return 0
        # Refuses what does not fit before any process starts.
        RandomUnitMask(mask_ratio=args.mask_ratio or 0.0).draw(
            1, args.image_size, args.image_size, index=0
        )
        steps = common.take_turns(build, args)
    except ConfigError as error:
        return report(error)
    table = common.summarize(steps, args.batch_size)
    print(common.render(table), end='')
    common.save(args, rows=table)
    return 0


if __name__ == '__main__':
    sys.exit(main())
