"""Time what a mask costs on the host: drawing it, and the tables of a step.

The first table has a rank's share of a global batch on some numbers of ranks.
The second builds all tables that a step of the student asks for, forward and
backward, for a new mask: those of the convolutions on a CPU, and those of the
kernels on a GPU (where Triton is installed), which are built on `--device`.
`host ms` is until the host goes on, `ms` until the device has finished.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import common
import torch

from mmhgkd.backbones import SparseResNet
from mmhgkd.masks import RandomUnitMask
from mmhgkd.runner import command_line
from mmhgkd.sparse.geometry import Geometry
from mmhgkd.utils import ConfigError

#: A table that a step asks for: the method of a geometry and its arguments.
Key = tuple[Any, ...]
# What other tables are made of.
INNER = ('neighbors',)
ROWS = ('on a CPU', 'on a GPU')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    for option, default, text in (
        ('--depth', 50, 'of the ResNet'),
        ('--batch-size', 16, 'images of the tables'),
        ('--global-batch', 4096, 'images of all ranks, of the draws'),
        ('--image-size', 224, 'side in pixels'),
        ('--threads', 2, 'of PyTorch on the CPU'),
        ('--repeats', 20, 'of which the median is taken'),
    ):
        add(option, type=int, default=default, help=text)
    add('--ranks', type=int, nargs='+', default=[1, 8, 64])
    add('--mask-ratio', type=float, default=0.6, help='hidden share')
    cuda = torch.cuda.is_available()
    add('--device', default='cuda' if cuda else 'cpu', help='of the tables')
    add('--json', metavar='OUT', help='file for the numbers')
    args = parser.parse_args(argv)
    for ranks in args.ranks:
        if ranks < 1 or args.global_batch % ranks:
            parser.error(
                f'--global-batch {args.global_batch} is no multiple of '
                f'--ranks {ranks}'
            )
    if args.repeats < 1 or args.batch_size < 1:
        parser.error('--repeats and --batch-size must be at least 1')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Time, print the tables and write the numbers; returns the exit code."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        draws = time_draws(args)
        tables = time_tables(args)
    except ConfigError as error:
        return command_line.report(error)
    columns = dict(images=('images', '.0f'), ms=('ms', '.2f'))
    print(common.render(draws, 'ranks', columns))
    columns = dict(
        tables=('tables', '.0f'),
        host_ms=('host ms', '.2f'),
        ms=('ms', '.2f'),
    )
    print(common.render(tables, 'tables of a step', columns), end='')
    common.save(args, draws=draws, tables=tables)
    return 0


def time_draws(args: argparse.Namespace) -> dict[str, common.Numbers]:
    """Time the draw of the last rank, for each number of ranks."""
    draw: Any = RandomUnitMask(mask_ratio=args.mask_ratio)
    side = args.image_size
    found = {}
    for ranks in args.ranks:
        images = args.global_batch // ranks
        run = partial(draw, images, side, side, rank=ranks - 1)
        ms = time_host(run, args.repeats, 'cpu')['ms']
        found[str(ranks)] = dict(images=images, ms=ms)
    return found


def time_tables(args: argparse.Namespace) -> dict[str, common.Numbers]:
    """Time the tables of a step."""
    draw = RandomUnitMask(mask_ratio=args.mask_ratio)
    side = args.image_size
    keys = {ROWS[0]: keys_on_cpu(args)}
    if importlib.util.find_spec('triton') is not None:
        keys[ROWS[1]] = keys_on_gpu(args)
    found = {}
    for row, asked in keys.items():
        device = 'cpu' if row == ROWS[0] else args.device

        times = []
        for _ in range(args.repeats + 1):
            mask = draw(args.batch_size, side, side, device)
            geometry = Geometry(mask)
            times.append(time_host(partial(build, geometry, asked), 1, device))
        # The first one allocates and loads code.
        found[row] = common.medians(times[1:]) | dict(tables=len(asked))
    return found


def time_host(
    function: Callable[[], object], repeats: int, device: str
) -> common.Numbers:
    """Median times until a function returns, and until the device is done."""
    host, whole = [], []
    for _ in range(repeats):
        start = common.now(device)
        function()
        host.append(1e3 * (time.perf_counter() - start))
        whole.append(1e3 * (common.now(device) - start))
    return dict(host_ms=statistics.median(host), ms=statistics.median(whole))


def build(geometry: Geometry, asked: Sequence[Key]) -> None:
    """Build the tables of one mask, each once."""
    for method, *arguments in asked:
        getattr(geometry, method)(*arguments)


def keys_on_cpu(args: argparse.Namespace) -> list[Key]:
    """What the convolutions of a CPU ask for."""
    side = args.image_size
    network = SparseResNet(args.depth, backend='packed')
    mask = RandomUnitMask(mask_ratio=args.mask_ratio)(2, side, side)
    with recorded() as keys:
        features = network(torch.zeros(2, 3, side, side), mask)
        sum(x.rows().sum() for x in features).backward()
    return list(keys)


def keys_on_gpu(args: argparse.Namespace) -> list[Key]:
    """What the kernels ask for, without running any."""
    from kernel_launches import launches

    with recorded() as keys:
        launches(SparseResNet(args.depth), torch.bfloat16, True)
    return list(keys)


@contextmanager
def recorded() -> Iterator[dict[Key, None]]:
    """Note the tables that geometries are asked for."""
    keys: dict[Key, None] = {}
    cached = Geometry.cached

    def note(geometry: Geometry, key: Key, build: Any) -> Any:
        if key[0] not in INNER:
            keys[key] = None
        return cached(geometry, key, build)

    with mock.patch.object(Geometry, 'cached', note):
        yield keys


if __name__ == '__main__':
    sys.exit(main())
