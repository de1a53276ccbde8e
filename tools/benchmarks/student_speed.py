"""Time the sparse student's encoder against its neighbors.

The neighbors are the same dense network of MMPretrain, which sees the whole
image, and for a ResNet MMPretrain's sparse one. A step is a forward and a
backward pass. Images and weights are random: only the speed means anything.

Every network runs in a process of its own. The processes take turns, so that
a machine that slows down slows all of them, and the table has the median of
their steps. With several mask ratios there is a line a
ratio; the ideal is the time of the dense network times the share of the image
that is visible.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import common
import torch
from common import DENSE, PEERS, STAGES, Numbers
from matplotlib.figure import Figure
from mmpretrain.models import (
    ConvNeXt,
    EfficientNet,
    MobileNetV2,
    MobileNetV3,
    ResNet,
)
from mmpretrain.models.backbones import SparseResNet as PeerSparseResNet
from mmpretrain.models.utils.sparse_modules import SparseHelper
from torch import Tensor, nn

from mmhgkd.backbones import (
    SparseConvNeXt,
    SparseEfficientNet,
    SparseMobileNetV2,
    SparseMobileNetV3,
    SparseResNet,
)
from mmhgkd.backbones.backends import BACKENDS
from mmhgkd.masks import RandomUnitMask
from mmhgkd.report import to_markdown
from mmhgkd.runner.command_line import report
from mmhgkd.utils import ConfigError

RESNET = 'resnet'
STUDENTS: dict[str, tuple[Any, Any, Sequence[int]]] = {
    RESNET: (SparseResNet, ResNet, STAGES),
    'convnext': (SparseConvNeXt, ConvNeXt, STAGES),
    'mobilenet_v2': (SparseMobileNetV2, MobileNetV2, (1, 2, 4, 7)),
    'mobilenet_v3': (SparseMobileNetV3, MobileNetV3, (1, 3, 8, 12)),
    'efficientnet': (SparseEfficientNet, EfficientNet, (2, 3, 4, 6)),
}
"""Student, dense network, and which of that's stages are the same maps."""

# Returns the features of all stages at a mask ratio.
Forward = Callable[[float], list[Tensor]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = common.make_parser(__doc__)
    add = parser.add_argument
    sizes = 'in its default size, except for the depth of the ResNet'
    add('--student', choices=list(STUDENTS), default=RESNET, help=sizes)
    shares = 'shares that are hidden'
    add('--mask-ratio', type=float, nargs='+', default=[0.6], help=shares)
    args = parser.parse_args(argv)
    if args.plot and len(args.mask_ratio) == 1:
        parser.error('--plot draws several mask ratios; add --mask-ratio')
    if args.busy and len(args.mask_ratio) > 1:
        parser.error('--busy is for one mask ratio; leave it out')
    common.choose_rows(parser, args, args.student == RESNET)
    return args


def build_network(
    row: str, args: argparse.Namespace
) -> tuple[nn.Module, Forward]:
    """Build a network, and its forward pass on random images."""
    torch.manual_seed(0)
    size = (args.batch_size, args.image_size, args.image_size)
    masks = {
        ratio: RandomUnitMask(mask_ratio=ratio)(*size, device=args.device)
        for ratio in args.mask_ratio
    }
    images = torch.randn(size[0], 3, *size[1:], device=args.device)
    sparse, dense, stages = STUDENTS[args.student]
    sizes = [args.depth] if args.student == RESNET else []
    options: dict[str, Any] = dict(out_indices=stages)
    if dense is ConvNeXt:
        options['gap_before_final_norm'] = False
    net: nn.Module
    if row in BACKENDS:
        net = sparse(*sizes, backend=row)
    elif row == DENSE:
        net = dense(*sizes, **options)
    else:
        net = PeerSparseResNet(
            args.depth,
            out_indices=STAGES,
            norm_cfg=dict(type='mmpretrain.SparseBatchNorm2d'),
        )
    net.to(args.device).train()
    inputs = {
        ratio: images * mask.visible(1) if row in PEERS else images
        for ratio, mask in masks.items()
    }
    if row in (DENSE, PEERS[1]):
        net.to(memory_format=torch.channels_last)
        inputs = {
            ratio: x.to(memory_format=torch.channels_last)
            for ratio, x in inputs.items()
        }
    if args.compile:
        net.compile()

    def forward(ratio: float) -> list[Tensor]:
        mask = masks[ratio]
        if row in BACKENDS:
            return [feature.rows() for feature in net(images, mask)]
        if row in PEERS:
            SparseHelper._cur_active = mask.visible(mask.unit).float()
        return net(inputs[ratio])

    return net, forward


def step(
    net: nn.Module, forward: Forward, ratio: float, args: argparse.Namespace
) -> Numbers:
    """Run one training step without the optimizer.

    ``step_ms`` is the time of the forward and the backward pass.
    """
    net.zero_grad()
    start = common.now(args.device)
    with common.autocast(args):
        features = forward(ratio)
    middle = common.now(args.device)
    torch.stack([x.float().mean() for x in features]).sum().backward()
    return dict(
        forward_ms=1e3 * (middle - start),
        step_ms=1e3 * (common.now(args.device) - start),
    )


def build(row: str, args: argparse.Namespace) -> Callable[[], Numbers]:
    """Build the timed step of a row, or its steps at several mask ratios."""
    net, forward = build_network(row, args)
    # The dense network sees the whole image anyway.
    ratios = args.mask_ratio[: 1 if row == DENSE else None]
    if len(args.mask_ratio) == 1:
        return lambda: step(net, forward, ratios[0], args)
    return lambda: {
        str(ratio): step(net, forward, ratio, args)['step_ms']
        for ratio in ratios
    }


def sweep(
    steps: dict[str, list[Numbers]], shares: dict[float, float]
) -> list[Numbers]:
    """Put the times of several mask ratios together, a row a ratio.

    A row has ``mask_ratio``, ``visible``, the time of each network, such as
    ``packed_ms``, and ``ideal_ms``. ``shares`` are visible ones by ratio.
    """
    times = {row: common.medians(numbers) for row, numbers in steps.items()}
    dense = times.pop(DENSE, {}).get(str(next(iter(shares))))
    rows = []
    for ratio, visible in shares.items():
        row = dict(mask_ratio=ratio, visible=visible)
        if dense is not None:
            row |= dict(dense_ms=dense, ideal_ms=visible * dense)
        row |= {f'{name}_ms': time[str(ratio)] for name, time in times.items()}
        rows.append(row)
    return rows


def render_sweep(rows: Sequence[Numbers]) -> str:
    """Lay the times of several mask ratios out as a Markdown table."""
    digits = dict(mask_ratio='g', visible='.2f')
    return to_markdown(
        [
            {
                key.replace('_', ' '): format(x, digits.get(key, '.0f'))
                for key, x in row.items()
            }
            for row in rows
        ]
    )


def draw_sweep(rows: Sequence[Numbers]) -> Figure:
    """Draw the times over the mask ratio."""
    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.add_subplot(xlabel='mask ratio', ylabel='step, ms')
    for key in list(rows[0])[2:]:
        axes.plot(
            [row['mask_ratio'] for row in rows],
            [row[key] for row in rows],
            '--' if key == 'ideal_ms' else 'o-',
            label=key.removesuffix('_ms'),
        )
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Time, print the table, and write and draw the numbers; the exit code."""
    args = parse_args(argv)
    try:
        # Refuses what does not fit before any process starts.
        masks = {
            ratio: RandomUnitMask(mask_ratio=ratio).draw(
                1, args.image_size, args.image_size, index=0
            )
            for ratio in args.mask_ratio
        }
        steps = common.take_turns(build, args)
    except ConfigError as error:
        return report(error)
    if len(masks) == 1:
        table = common.summarize(steps, args.batch_size)
        print(common.render(table), end='')
        common.save(args, rows=table)
        return 0
    rows = sweep(
        steps,
        {ratio: m.num_visible / m.num_units for ratio, m in masks.items()},
    )
    print(render_sweep(rows), end='')
    common.save(args, rows=rows)
    if args.plot:
        common.save_picture(args, draw_sweep(rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
