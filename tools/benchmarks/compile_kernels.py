"""Compile all kernels that the students launch, for GPUs that are not here.

    python tools/benchmarks/compile_kernels.py

Each block configuration of every student, in every precision, for every kind
of GPU: that they compile, fit the shared memory, keep all in registers and
have the instructions and asynchronous copies that make them fast. What is
known to be missing is listed in `kernel_checks.py`; the exit code is 1 if
anything else is.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import kernel_checks as checks
from kernel_launches import GPUS, PRECISIONS, Launch, block_configurations

from mmhgkd.report import to_markdown

# Of this process and, as they are forked, of those that compile.
_launches: dict[str, list[Launch]] = {}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    text = 'compute capabilities, such as 90'
    add('--gpus', type=int, nargs='+', choices=GPUS, default=GPUS, help=text)
    names = list(PRECISIONS)
    add('--precisions', nargs='+', choices=names, default=names)
    add('--kernels', nargs='+', metavar='NAME', help='by default all')
    cores = os.cpu_count() or 1
    add('--workers', type=int, default=cores, help='that compile')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Compile and print a table; returns the exit code."""
    args = parse_args(argv)
    for precision in args.precisions:
        _launches[precision] = [
            launch
            for launch in block_configurations(precision)
            if not args.kernels or launch.name in args.kernels
        ]
    tasks = [
        (precision, index, gpu)
        for gpu in args.gpus
        for precision in args.precisions
        for index in range(len(_launches[precision]))
    ]
    rows: dict[tuple[int, str], dict[str, float]] = {}
    unknown = []
    # Kernels cannot be sent, but a forked process has them.
    context: Any = multiprocessing.get_context('fork')
    with ProcessPoolExecutor(args.workers, context) as pool:
        futures = {pool.submit(_compile, *task): task for task in tasks}
        for future in as_completed(futures):
            precision, index, gpu = futures[future]
            code, found = future.result()
            launch = _launches[precision][index]
            row = rows.setdefault((gpu, precision), _empty(gpu))
            row['kernels'] += 1
            if code is not None:
                kib, size = code.shared / 1024, code.spilled
                row['shared, KiB'] = max(row['shared, KiB'], kib)
                row['spilled, bytes'] = max(row['spilled, bytes'], size)
            for fault in found:
                if checks.is_known(fault, launch, precision, gpu):
                    row['known'] += 1
                    continue
                row['unknown'] += 1
                line = f'{describe(launch)} in {precision} on {gpu} {fault}'
                unknown.append(line)
                print(line, file=sys.stderr, flush=True)
    lines = [
        {name: format(value, '.0f') for name, value in rows[key].items()}
        | {'precision': key[1]}
        for key in sorted(rows)
    ]
    print(to_markdown(lines), end='')
    return int(bool(unknown))


def describe(launch: Launch) -> str:
    """A launch by its name and constants."""
    constants = ', '.join(f'{x}={y}' for x, y in launch.constants)
    return f'{launch.name}({constants})'


def _compile(
    precision: str, index: int, gpu: int
) -> tuple[checks.Code | None, list[str]]:
    """Compile one launch, in a process of the pool."""
    launch = _launches[precision][index]
    try:
        code = checks.inspect(launch, gpu)
    except Exception as error:
        # Of which kind depends on the step of the compiler that fails.
        return None, [f'does not compile: {error!r}'[:500]]
    return code, checks.faults(launch, precision, gpu, code)


def _empty(gpu: int) -> dict[str, float]:
    return {
        'GPU': gpu,
        'precision': 0,
        'kernels': 0,
        'shared, KiB': 0,
        'spilled, bytes': 0,
        'known': 0,
        'unknown': 0,
    }


if __name__ == '__main__':
    sys.exit(main())
