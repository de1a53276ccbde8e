"""Time the student's encoder as more and more of the image is hidden.

Forward and backward pass of the encoder, for each backend and mask ratio, in
one process. All of them take turns, and the table has the medians. The ideal
is the time of the dense network times the share of the image that is visible.
Images and weights are random: only the speed means anything.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import common
import torch
from common import Numbers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmpretrain.models import ResNet
from torch import Tensor, nn

from mmhgkd.backbones import SparseResNet
from mmhgkd.backbones.backends import BACKENDS
from mmhgkd.masks import RandomUnitMask, UnitMask
from mmhgkd.runner.command_line import report
from mmhgkd.utils import ConfigError

DENSE = 'dense'
STAGES = (0, 1, 2, 3)


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
        '--mask-ratios',
        type=float,
        nargs='+',
        default=[0.0, 0.2, 0.4, 0.6, 0.75, 0.9],
        metavar='RATIO',
        help='shares that are hidden',
    )
    parser.add_argument(
        '--backends',
        nargs='+',
        choices=list(BACKENDS),
        default=['masked', 'packed'],
    )
    parser.add_argument(
        '--compile', action='store_true', help='compile all networks'
    )
    parser.add_argument('--plot', metavar='PNG', help='file for a picture')
    common.add_arguments(parser)
    return parser.parse_args(argv)


def build(backend: str, args: argparse.Namespace) -> nn.Module:
    """Build an encoder."""
    net = (
        ResNet(args.depth, out_indices=STAGES)
        if backend == DENSE
        else SparseResNet(args.depth, backend=backend)
    )
    net.to(args.device)
    if backend == DENSE:
        net.to(memory_format=torch.channels_last)
    net.train()
    if args.compile:
        net.compile()
    return net


def step(
    net: nn.Module,
    images: Tensor,
    mask: UnitMask | None,
    args: argparse.Namespace,
) -> float:
    """Milliseconds of a forward and a backward pass."""
    start = common.now(args.device)
    with common.autocast(args):
        if mask is None:
            features = net(images)
        else:
            features = [feature.rows() for feature in net(images, mask)]
    sum(x.float().mean() for x in features).backward()
    milliseconds = 1e3 * (common.now(args.device) - start)
    net.zero_grad()
    return milliseconds


def measure(args: argparse.Namespace) -> list[Numbers]:
    """Time all backends at all mask ratios in turns.

    Returns:
        list[dict]: One a mask ratio: ``mask_ratio``, ``visible`` (the share
        of the units), ``dense_ms``, ``ideal_ms`` and the time of each
        backend, such as ``packed_ms``.
    """
    torch.manual_seed(0)
    side = args.image_size
    images = torch.randn(args.batch_size, 3, side, side, device=args.device)
    dense_images = images.to(memory_format=torch.channels_last)
    masks = [
        RandomUnitMask(mask_ratio=ratio)(
            args.batch_size, side, side, device=args.device
        )
        for ratio in args.mask_ratios
    ]
    nets = {name: build(name, args) for name in (DENSE, *args.backends)}
    dense: list[float] = []
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(args.repeats + 1):
        dense.append(step(nets[DENSE], dense_images, None, args))
        for index, mask in enumerate(masks):
            for backend in args.backends:
                times.setdefault((backend, index), []).append(
                    step(nets[backend], images, mask, args)
                )
    # The first turn allocates, compiles and chooses kernels.
    dense_ms = statistics.median(dense[1:])
    rows = []
    for index, (ratio, mask) in enumerate(
        zip(args.mask_ratios, masks, strict=True)
    ):
        visible = mask.num_visible / mask.num_units
        row = dict(
            mask_ratio=ratio,
            visible=visible,
            dense_ms=dense_ms,
            ideal_ms=visible * dense_ms,
        )
        for backend in args.backends:
            row[f'{backend}_ms'] = statistics.median(times[backend, index][1:])
        rows.append(row)
    return rows


def render(rows: list[Numbers], backends: Sequence[str]) -> str:
    """Lay the numbers out as a Markdown table."""
    return common.markdown(
        [
            'mask ratio',
            'visible',
            'dense ms',
            'ideal ms',
            *(f'{backend} ms' for backend in backends),
        ],
        [
            [
                f'{row["mask_ratio"]:g}',
                f'{row["visible"]:.2f}',
                *(
                    f'{row[f"{name}_ms"]:.0f}'
                    for name in (DENSE, 'ideal', *backends)
                ),
            ]
            for row in rows
        ],
    )


def plot(rows: list[Numbers], backends: Sequence[str], path: str) -> None:
    """Draw the times over the mask ratio."""
    figure = Figure(figsize=(6, 4), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        xlabel='mask ratio', ylabel='forward + backward, ms'
    )
    ratios = [row['mask_ratio'] for row in rows]
    for name in (DENSE, *backends, 'ideal'):
        axes.plot(
            ratios,
            [row[f'{name}_ms'] for row in rows],
            '--' if name == 'ideal' else 'o-',
            label='visible share x dense' if name == 'ideal' else name,
        )
    axes.set_ylim(bottom=0)
    axes.legend()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Time, print the table, write the numbers and draw them.

    Returns:
        int: The exit code.
    """
    args = parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        rows = measure(args)
    except ConfigError as error:
        return report(error)
    finally:
        torch.set_num_threads(threads)
    print(render(rows, args.backends))
    common.write_json(args, rows=rows)
    if args.plot:
        plot(rows, args.backends, args.plot)
    return 0


if __name__ == '__main__':
    sys.exit(main())
