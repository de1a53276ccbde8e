"""What the benchmarks share: clock, memory, turns and tables."""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch
from mmengine.logging import MMLogger

from mmhgkd.utils import ConfigError

GIB = 2**30
START_METHOD = 'spawn'
DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)

Numbers = dict[str, float]
Build = Callable[[str, argparse.Namespace], Callable[[], Numbers]]


def add_arguments(
    parser: argparse.ArgumentParser, image_size: int | None = 224
) -> None:
    """Add the options that all benchmarks have."""
    parser.add_argument('--batch-size', type=int, default=16)
    if image_size:
        parser.add_argument(
            '--image-size', type=int, default=image_size, help='side in pixels'
        )
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument(
        '--dtype',
        choices=list(DTYPES),
        default='fp32',
        help='bf16 and fp16 mean autocast',
    )
    parser.add_argument(
        '--threads', type=int, default=2, help='of each process on the CPU'
    )
    parser.add_argument(
        '--repeats', type=int, default=3, help='timed steps of each row'
    )
    parser.add_argument('--json', metavar='OUT', help='file for the numbers')


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
    build: Build, args: argparse.Namespace, rows: Sequence[str]
) -> dict[str, list[Numbers]]:
    """Run the steps of all rows in turns, each row in its own process.

    Args:
        build (Callable): Takes a row and the options and returns the step,
            which returns its numbers. A function of a module, as it is sent
            to the processes.
        args (argparse.Namespace): The options.
        rows (Sequence[str]): Names of the rows.

    Returns:
        dict[str, list[dict]]: Numbers of the timed steps of each row, with
        ``peak_gib``, the memory that the row has taken so far.

    Raises:
        ConfigError: If a row fails; its process has printed why.
    """
    # Spinning threads would take the cores from the process whose turn it is.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    context: Any = multiprocessing.get_context(START_METHOD)
    pipes = {}
    for row in rows:
        pipes[row], end = context.Pipe()
        context.Process(
            target=_serve, args=(build, row, args, end), daemon=True
        ).start()
        end.close()
    steps: dict[str, list[Numbers]] = {row: [] for row in rows}
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
    step = build(row, args)
    while pipe.recv():
        numbers = step()
        peak = (peak_memory(args.device) - before) / GIB
        pipe.send({**numbers, 'peak_gib': peak})


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what mmengine logs about every parameter of a model."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(level)


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lay text out as a Markdown table, the first column to the left."""
    rule = ['---'] + ['---:'] * (len(header) - 1)
    return '\n'.join(
        f'| {" | ".join(line)} |' for line in (header, rule, *lines)
    )


def write_json(args: argparse.Namespace, **report: Any) -> None:
    """Write the numbers to the file that the options name, if any."""
    if args.json:
        report = dict(options=vars(args), torch=torch.__version__, **report)
        with open(args.json, 'w') as file:
            json.dump(report, file, indent=2)
