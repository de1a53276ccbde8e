"""Time the sparse student's encoder against its neighbors.

The neighbors are the same dense network of MMPretrain, which sees the whole
image, and for a ResNet MMPretrain's sparse one. Images and weights are random:
only the speed means anything.

Every network runs in a process of its own. The processes take turns, one
step each, so that a machine that slows down slows all of them, and the table
has the median of their steps.
"""

import argparse
import importlib.util
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import common
import torch
from common import Numbers
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
from mmhgkd.runner.command_line import report
from mmhgkd.utils import ConfigError

DENSE = 'dense'
PEERS = ('mmpretrain', 'mmpretrain channels_last')
# The dense network on an image with holes costs what the dense row costs.
SPARSE = tuple(name for name in BACKENDS if name != 'zero_filled')
STAGES = (0, 1, 2, 3)
RESNET = 'resnet'
STUDENTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    RESNET: (SparseResNet, ResNet, dict(out_indices=STAGES)),
    'convnext': (
        SparseConvNeXt,
        ConvNeXt,
        dict(out_indices=STAGES, gap_before_final_norm=False),
    ),
    'mobilenet_v2': (
        SparseMobileNetV2,
        MobileNetV2,
        dict(out_indices=(1, 2, 4, 7)),
    ),
    'mobilenet_v3': (
        SparseMobileNetV3,
        MobileNetV3,
        dict(out_indices=(1, 3, 8, 12)),
    ),
    'efficientnet': (
        SparseEfficientNet,
        EfficientNet,
        dict(out_indices=(2, 3, 4, 6)),
    ),
}
"""Student, dense network, and what makes that return the same maps."""

# Returns the features of all stages.
Forward = Callable[[], list[Tensor]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--student',
        choices=list(STUDENTS),
        default=RESNET,
        help='in its default size, except for the depth of the ResNet',
    )
    parser.add_argument('--depth', type=int, default=50, help='of the ResNet')
    parser.add_argument(
        '--mask-ratio', type=float, default=0.6, help='share that is hidden'
    )
    parser.add_argument(
        '--compile', action='store_true', help='compile the student'
    )
    add_rows(parser)
    common.add_arguments(parser)
    args = parser.parse_args(argv)
    choose_rows(parser, args, args.student)
    return args


def add_rows(parser: argparse.ArgumentParser) -> None:
    """Add the option for the rows of the table."""
    rows = [DENSE, *PEERS, *SPARSE]
    parser.add_argument(
        '--rows',
        nargs='+',
        choices=rows,
        metavar='ROW',
        help=f'networks to time, by default all that can run of: '
        f'{", ".join(rows)}',
    )


def choose_rows(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    student: str = RESNET,
) -> None:
    """Choose the rows that run, or refuse those that were asked for."""
    cuda = args.device.startswith('cuda')
    reasons = {}
    if not cuda or importlib.util.find_spec('spconv') is None:
        reasons['spconv'] = (
            "needs a CUDA device and the package: pip install 'mmhgkd[spconv]'"
        )
    if student != RESNET:
        reasons['spconv'] = 'has no depthwise convolutions'
        reasons |= dict.fromkeys(PEERS, 'has a sparse ResNet only')
    for row in args.rows or ():
        if row in reasons:
            parser.error(f'the row {row!r} {reasons[row]}')
    args.rows = args.rows or [
        row for row in (DENSE, *PEERS, *SPARSE) if row not in reasons
    ]


def build_network(
    row: str, args: argparse.Namespace
) -> tuple[nn.Module, Forward]:
    """Build a network.

    Returns:
        tuple[nn.Module, Forward]: The network, and its forward pass on
        random images.
    """
    torch.manual_seed(0)
    size = (args.batch_size, args.image_size, args.image_size)
    mask = RandomUnitMask(mask_ratio=args.mask_ratio)(
        *size, device=args.device
    )
    images = torch.randn(size[0], 3, *size[1:], device=args.device)
    sparse, dense, options = STUDENTS[args.student]
    sizes = [args.depth] if args.student == RESNET else []
    net: nn.Module
    if row in BACKENDS:
        net = sparse(*sizes, backend=row).to(args.device)
        net.train()
        run = torch.compile(net) if args.compile else net
        return net, lambda: [feature.rows() for feature in run(images, mask)]
    if row == DENSE:
        net = dense(*sizes, **options)
    else:
        SparseHelper._cur_active = mask.visible(mask.unit).float()
        images = images * mask.visible(1)
        net = PeerSparseResNet(
            args.depth,
            out_indices=STAGES,
            norm_cfg=dict(type='mmpretrain.SparseBatchNorm2d'),
        )
    net.to(args.device)
    if row != PEERS[0]:
        net.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    net.train()
    return net, lambda: net(images)


def step(
    net: nn.Module, forward: Forward, args: argparse.Namespace
) -> Numbers:
    """Run one training step without the optimizer.

    Returns:
        dict: Milliseconds of the forward pass, and of the forward and the
        backward pass.
    """
    net.zero_grad()
    start = common.now(args.device)
    with common.autocast(args):
        features = forward()
    middle = common.now(args.device)
    torch.stack([x.float().mean() for x in features]).sum().backward()
    return dict(
        forward_ms=1e3 * (middle - start),
        step_ms=1e3 * (common.now(args.device) - start),
    )


def build(row: str, args: argparse.Namespace) -> Callable[[], Numbers]:
    """Build the timed step of a row."""
    net, forward = build_network(row, args)
    return lambda: step(net, forward, args)


def summarize(
    steps: dict[str, list[Numbers]], batch_size: int
) -> dict[str, Numbers]:
    """Medians, and the speed relative to the neighbors in the same run."""
    table: dict[str, Numbers] = {}
    for row, numbers in steps.items():
        forward, both = (
            statistics.median(step[name] for step in numbers)
            for name in ('forward_ms', 'step_ms')
        )
        table[row] = dict(
            forward_ms=forward,
            step_ms=both,
            images_per_second=1e3 * batch_size / both,
            peak_gib=max(step['peak_gib'] for step in numbers),
        )
    for name, rivals in ((DENSE, (DENSE,)), (PEERS[0], PEERS)):
        rival = min(
            (table[row]['step_ms'] for row in rivals if row in table),
            default=None,
        )
        if rival is not None:
            for numbers_of_row in table.values():
                numbers_of_row[f'times_{name}'] = (
                    rival / numbers_of_row['step_ms']
                )
    return table


def render(table: dict[str, Numbers]) -> str:
    """Lay the numbers out as a Markdown table."""
    columns: dict[str, tuple[str, str]] = dict(
        forward_ms=('forward ms', '.0f'),
        step_ms=('forward + backward ms', '.0f'),
        images_per_second=('images/s', '.1f'),
        peak_gib=('peak GiB', '.2f'),
        times_dense=('x dense', '.2f'),
        times_mmpretrain=('x mmpretrain sparse', '.2f'),
    )
    shown = [name for name in columns if name in next(iter(table.values()))]
    return common.markdown(
        ['', *(columns[name][0] for name in shown)],
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
