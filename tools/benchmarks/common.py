"""What the benchmarks share: options, clock, turns, and the table."""

import argparse
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from mmhgkd.backbones.backends import BACKENDS
from mmhgkd.report import to_markdown
from mmhgkd.utils import ConfigError
from mmhgkd.utils.kept_memory import freed_memory_kept

GIB = 2**30
START_METHOD = 'spawn'
DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
STAGES = (0, 1, 2, 3)
DENSE = 'dense'
PEERS = ('mmpretrain', 'mmpretrain channels_last')
# The dense network on an image with holes costs what the dense row costs, and
# `MMHGKD_TRITON=0` switches the kernels of the packed row off.
SAME = ('zero_filled', 'packed_torch')
ROWS = (DENSE, *PEERS, *(name for name in BACKENDS if name not in SAME))
COLUMNS = dict(
    forward_ms=('forward ms', '.0f'),
    step_ms=('step ms', '.0f'),
    images_per_second=('images/s', '.1f'),
    peak_gib=('peak GiB', '.2f'),
    busy=('busy', '.0%'),
    times_dense=('x dense', '.2f'),
    times_mmpretrain=('x mmpretrain', '.2f'),
)
# Rows of which the faster one is what the others are compared with.
NEIGHBORS = {DENSE: (DENSE,), PEERS[0]: PEERS}

Numbers = dict[str, float]
Build = Callable[[str, argparse.Namespace], Callable[[], Numbers]]


def make_parser(
    description: str, rows: Sequence[str] = ROWS
) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=description.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    cuda = torch.cuda.is_available()
    for option, default, text in (
        ('--depth', 50, 'of the ResNet'),
        ('--batch-size', 16, 'images of a step'),
        ('--image-size', 224, 'side in pixels'),
        ('--threads', 2, 'of each process on the CPU'),
        ('--repeats', 3, 'timed steps of each row'),
    ):
        parser.add_argument(option, type=int, default=default, help=text)
    add = parser.add_argument
    add('--device', default='cuda' if cuda else 'cpu')
    precision = 'bf16 and fp16 mean autocast'
    add('--dtype', choices=list(DTYPES), default='fp32', help=precision)
    add('--compile', action='store_true', help='compile all networks')
    names = f'to time, by default all that can run of: {", ".join(rows)}'
    add('--rows', nargs='+', choices=rows, metavar='ROW', help=names)
    busy = 'also show how much of a step the GPU computes, by the profiler'
    add('--busy', action='store_true', help=busy)
    add('--json', metavar='OUT', help='file for the numbers')
    add('--plot', metavar='PNG', help='file for a picture')
    return parser


def choose_rows(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    is_resnet: bool = True,
) -> None:
    """Choose the rows that run, or refuse those that were asked for."""
    if args.busy and not args.device.startswith('cuda'):
        parser.error('--busy looks at a GPU; leave it out on another device')
    reasons = {}
    has_spconv = importlib.util.find_spec('spconv') is not None
    if not args.device.startswith('cuda') or not has_spconv:
        reasons['spconv'] = (
            "needs a CUDA device and the package: pip install 'mmhgkd[spconv]'"
        )
    if not is_resnet:
        reasons['spconv'] = 'has no depthwise convolutions'
        reasons |= dict.fromkeys(PEERS, 'has a sparse ResNet only')
    for row in args.rows or ():
        if row in reasons:
            parser.error(f'the row {row!r} {reasons[row]}')
    args.rows = args.rows or [row for row in ROWS if row not in reasons]


def autocast(args: argparse.Namespace) -> torch.autocast:
    """The precision that the options ask for."""
    return torch.autocast(
        torch.device(args.device).type,
        DTYPES[args.dtype],
        enabled=args.dtype != 'fp32',
    )


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


def take_turns(
    build: Build, args: argparse.Namespace
) -> dict[str, list[Numbers]]:
    """Run the steps of all rows in turns, each row in its own process.

    ``build`` takes a row and the options, and returns the step, which returns
    its numbers. It is a function of a module, as it is sent to the processes.
    The numbers of a row's timed steps get ``peak_gib``, the memory that it
    has taken so far.

    Raises:
        ConfigError: If a row fails; its process has printed why.
    """
    # Spinning threads would take the cores from the process whose turn it is.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    context: Any = multiprocessing.get_context(START_METHOD)
    pipes = {}
    for row in args.rows:
        pipes[row], end = context.Pipe()
        context.Process(
            target=_serve, args=(build, row, args, end), daemon=True
        ).start()
        end.close()
    steps: dict[str, list[Numbers]] = {row: [] for row in args.rows}
    for _ in range(args.repeats + 1):
        for row, pipe in pipes.items():
            try:
                pipe.send(True)
                steps[row].append(pipe.recv())
            except (EOFError, OSError) as error:
                raise ConfigError(
                    f'the row {row!r} has failed, see above; lower '
                    '--batch-size if memory is short, or choose other --rows'
                ) from error
    for pipe in pipes.values():
        pipe.send(False)
    # The first step allocates, compiles and chooses kernels.
    return {row: numbers[1:] for row, numbers in steps.items()}


def _serve(
    build: Build, row: str, args: argparse.Namespace, pipe: Connection
) -> None:
    torch.set_num_threads(args.threads)
    before = peak_memory(args.device)
    # As in a training of this project; what it is compared with gets the same.
    with freed_memory_kept(args.device):
        step = build(row, args)
        while pipe.recv():
            # A training runs step after step; this one finds the caches of
            # the processor as another process has left them.
            step()
            numbers = step()
            peak = (peak_memory(args.device) - before) / GIB
            if args.busy and args.device.startswith('cuda'):
                # Not in the step that is timed, which the profiler slows down.
                numbers['busy'] = busy_share(step)
            pipe.send({**numbers, 'peak_gib': peak})


def busy_share(step: Callable[[], object]) -> float:
    """Share of a step in which the GPU computes."""
    activities = [
        torch.profiler.ProfilerActivity.CPU,
        torch.profiler.ProfilerActivity.CUDA,
    ]
    with torch.profiler.profile(activities=activities) as profiler:
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        microseconds = 1e6 * (time.perf_counter() - start)
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA
        # One of these spans what it encloses, with all gaps.
        and not getattr(event, 'is_user_annotation', False)
    ]
    return covered(spans) / microseconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans, which may overlap."""
    total, reached = 0.0, float('-inf')
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total


def medians(steps: Sequence[Numbers]) -> Numbers:
    """Median of each number over the steps."""
    return {
        key: statistics.median(step[key] for step in steps) for key in steps[0]
    }


def summarize(
    steps: dict[str, list[Numbers]],
    batch_size: int,
    neighbors: Mapping[str, Sequence[str]] = NEIGHBORS,
) -> dict[str, Numbers]:
    """Medians, and the speed relative to the neighbors in the same run."""
    table = {}
    for row, numbers in steps.items():
        median = medians(numbers)
        del median['peak_gib']  # whose largest value counts
        table[row] = median | dict(
            images_per_second=1e3 * batch_size / median['step_ms'],
            peak_gib=max(step['peak_gib'] for step in numbers),
        )
    for name, rivals in neighbors.items():
        times = [table[row]['step_ms'] for row in rivals if row in table]
        for row in table if times else ():
            table[row][f'times_{name}'] = min(times) / table[row]['step_ms']
    return table


def render(
    table: dict[str, Numbers],
    first: str = 'encoder',
    columns: Mapping[str, tuple[str, str]] = COLUMNS,
) -> str:
    """Lay the numbers of the rows out as a Markdown table."""
    rows = []
    for name, numbers in table.items():
        row = {first: name}
        for key, (heading, digits) in columns.items():
            if key in numbers:
                row[heading] = format(numbers[key], digits)
        rows.append(row)
    return to_markdown(rows)


def save(args: argparse.Namespace, **report: Any) -> None:
    """Write the numbers to the file that the options name, if any."""
    if args.json:
        report = dict(options=vars(args), torch=torch.__version__, **report)
        Path(args.json).write_text(json.dumps(report, indent=2))


def save_picture(args: argparse.Namespace, figure: Figure) -> None:
    """Write a picture to the file that the options name."""
    Path(args.plot).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.plot)
