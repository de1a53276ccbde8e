"""Time the sparse student's encoder against its neighbours.

Every network runs in a process of its own. The processes take turns, one
step each, so that a machine that slows down slows all of them, and the table
has the median of their steps.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
from mmpretrain.models import ResNet
from mmpretrain.models.backbones import SparseResNet as PeerSparseResNet
from mmpretrain.models.utils.sparse_modules import SparseHelper
from torch import Tensor, nn

from mmhgkd.backbones import SparseResNet
from mmhgkd.backbones.sparse_resnet import BACKENDS
from mmhgkd.masks import RandomUnitMask

DENSE = 'dense'
PEERS = ('mmpretrain', 'mmpretrain channels_last')
STAGES = (0, 1, 2, 3)
GIB = 2**30

# Returns the features of all stages.
Forward = Callable[[], list[Tensor]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--depth', type=int, default=50, help='of the ResNet')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument(
        '--image-size', type=int, default=224, help='side in pixels')
    parser.add_argument(
        '--mask-ratio', type=float, default=0.6, help='share that is hidden')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--dtype',
        choices=['fp32', 'bf16'],
        default='fp32',
        help='bf16 means autocast')
    parser.add_argument(
        '--threads',
        type=int,
        default=torch.get_num_threads(),
        help='of each process on the CPU')
    parser.add_argument(
        '--repeats', type=int, default=3, help='timed steps of each network')
    parser.add_argument(
        '--compile', action='store_true', help='compile the student')
    parser.add_argument(
        '--rows',
        nargs='+',
        choices=networks('cuda'),
        metavar='ROW',
        help='networks to time, by default all of: '
        f'{", ".join(networks("cuda"))}; spconv needs its package and CUDA')
    parser.add_argument('--json', metavar='OUT', help='file for the numbers')
    args = parser.parse_args(argv)
    args.rows = args.rows or networks(args.device)
    return args


def networks(device: str) -> list[str]:
    """Names of the rows that run on a device."""
    backends = list(BACKENDS)
    if not device.startswith('cuda') or not importlib.util.find_spec('spconv'):
        backends = [name for name in backends if name != 'spconv']
    return [DENSE, *PEERS, *backends]


def build(row: str, args: argparse.Namespace) -> tuple[nn.Module, Forward]:
    """Build a network.

    Returns:
        tuple[nn.Module, Forward]: The network, and its forward pass on
        random images.
    """
    torch.manual_seed(0)
    size = (args.batch_size, args.image_size, args.image_size)
    mask = RandomUnitMask(mask_ratio=args.mask_ratio)(
        *size, device=args.device)
    images = torch.randn(size[0], 3, *size[1:], device=args.device)
    net: nn.Module
    if row in BACKENDS:
        net = SparseResNet(args.depth, backend=row).to(args.device)
        net.train()
        run = torch.compile(net) if args.compile else net
        return net, lambda: [feature.rows() for feature in run(images, mask)]
    if row == DENSE:
        net = ResNet(args.depth, out_indices=STAGES)
    else:
        SparseHelper._cur_active = mask.visible(mask.unit).float()
        images = images * mask.visible(1)
        net = PeerSparseResNet(
            args.depth,
            out_indices=STAGES,
            norm_cfg=dict(type='mmpretrain.SparseBatchNorm2d'))
    net.to(args.device)
    if row != PEERS[0]:
        net.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    net.train()
    return net, lambda: net(images)


def step(net: nn.Module, forward: Forward,
         args: argparse.Namespace) -> tuple[float, float]:
    """Run one training step without the optimiser.

    Returns:
        tuple[float, float]: Milliseconds of the forward pass, and of the
        forward and the backward pass.
    """
    net.zero_grad()
    start = now(args.device)
    with torch.autocast(
            torch.device(args.device).type,
            torch.bfloat16,
            enabled=args.dtype == 'bf16'):
        features = forward()
    middle = now(args.device)
    torch.stack([x.float().mean() for x in features]).sum().backward()
    return 1e3 * (middle - start), 1e3 * (now(args.device) - start)


def now(device: str) -> float:
    """Seconds, after the device has finished."""
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory(device: str) -> int:
    """Most bytes so far: allocated on CUDA, else resident."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak


def serve(row: str, args: argparse.Namespace, pipe: Connection) -> None:
    """Run a step whenever asked, and send the times and the memory."""
    torch.set_num_threads(args.threads)
    before = peak_memory(args.device)
    net, forward = build(row, args)
    while pipe.recv():
        times = step(net, forward, args)
        pipe.send((*times, peak_memory(args.device) - before))


def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time all rows in turns.

    Returns:
        dict[str, dict[str, float]]: The numbers of each row.
    """
    # Spinning threads would take the cores from the process whose turn it is.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    context = multiprocessing.get_context('spawn')
    pipes = {}
    for row in args.rows:
        pipes[row], end = context.Pipe()
        context.Process(
            target=serve, args=(row, args, end), daemon=True).start()
        end.close()
    steps: dict[str, list[tuple]] = {row: [] for row in args.rows}
    for _ in range(args.repeats + 1):
        for row, pipe in pipes.items():
            pipe.send(True)
            steps[row].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    # The first step allocates, compiles and chooses kernels.
    return summarise({row: times[1:] for row, times in steps.items()},
                     args.batch_size)


def summarise(steps: dict[str, list[tuple]],
              batch_size: int) -> dict[str, dict[str, float]]:
    """Medians, and the speed relative to the neighbours in the same run."""
    table: dict[str, dict[str, float]] = {}
    for row, times in steps.items():
        forward, both, memory = zip(*times, strict=True)
        table[row] = dict(
            forward_ms=statistics.median(forward),
            step_ms=statistics.median(both),
            images_per_second=1e3 * batch_size / statistics.median(both),
            peak_gib=max(memory) / GIB)
    for name, rivals in ((DENSE, (DENSE, )), (PEERS[0], PEERS)):
        rival = min((table[row]['step_ms'] for row in rivals if row in table),
                    default=None)
        if rival is not None:
            for numbers in table.values():
                numbers[f'times_{name}'] = rival / numbers['step_ms']
    return table


def render(table: dict[str, dict[str, float]]) -> str:
    """Lay the numbers out as a Markdown table."""
    columns: dict[str, tuple[str, str]] = dict(
        forward_ms=('forward ms', '.0f'),
        step_ms=('forward + backward ms', '.0f'),
        images_per_second=('images/s', '.1f'),
        peak_gib=('peak GiB', '.2f'),
        times_dense=('x dense', '.2f'),
        times_mmpretrain=('x mmpretrain sparse', '.2f'))
    shown = [name for name in columns if name in next(iter(table.values()))]
    lines = [['', *(columns[name][0] for name in shown)]]
    lines.append(['---'] + ['---:'] * len(shown))
    for row, numbers in table.items():
        cells = (format(numbers[name], columns[name][1]) for name in shown)
        lines.append([row, *cells])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Time, print the table and write the numbers.

    Returns:
        int: The exit code.
    """
    args = parse_args(argv)
    table = measure(args)
    print(render(table))
    if args.json:
        report: dict[str, Any] = dict(
            options=vars(args), torch=torch.__version__, rows=table)
        with open(args.json, 'w') as file:
            json.dump(report, file, indent=2)
    return 0


if __name__ == '__main__':
    sys.exit(main())
