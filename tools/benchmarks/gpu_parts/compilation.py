"""The kernels compile, in parallel, and fit the GPU."""

import argparse
import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import common
import torch

from .results import Results

TITLE = 'Compilation'
SECONDS = 90
COLUMNS = dict(
    launches=('launches', 'd'),
    shared_kib=('most shared memory, KiB', '.0f'),
    spilled=('most spilled, bytes', 'd'),
    seconds=('slowest, s', '.1f'),
)
DTYPES = dict(
    bf16=(torch.bfloat16, True),
    fp16=(torch.float16, True),
    fp32=(torch.float32, False),
    tf32=(torch.float32, True),
)
#: Shared memory that a program may have, in KiB; all others have 99.
SHARED_KIB = {80: 163, 87: 163, 90: 227, 100: 227, 103: 227}


def cases(args: argparse.Namespace) -> list[str]:
    """A row a precision."""
    return list(DTYPES)


def capability(device: str) -> int:
    """Compute capability, such as 90; also where there is no GPU."""
    if not device.startswith('cuda'):
        return 90
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def run(args: argparse.Namespace, results: Results) -> None:
    """Compile the launches of the students, all block configurations."""
    gpu = capability(args.device)
    limit = SHARED_KIB.get(gpu, 99)
    if args.quick:
        tasks = [('bf16', 0)]
    else:
        tasks = [(x, i) for x in DTYPES for i in range(len(_launches(x)))]
    context: Any = multiprocessing.get_context(common.START_METHOD)
    workers = min(args.workers, len(tasks))
    with ProcessPoolExecutor(workers, context) as pool:
        futures = {
            pool.submit(_compile, dtype, index, gpu): dtype
            for dtype, index in tasks
        }
        for future in as_completed(futures):
            found, dtype = future.result(), futures[future]
            row = results.rows.get(dtype, {})
            results.add(
                dtype,
                launches=row.get('launches', 0) + 1,
                **{
                    key: max(row.get(key, 0), found[key])
                    for key in ('shared_kib', 'spilled', 'seconds')
                },
            )
            name = found['launch']
            results.check(
                dtype,
                found['shared_kib'] <= limit,
                f'{name} needs {found["shared_kib"]:.0f} KiB of {limit}',
            )
            for fault in found['faults']:
                results.check(dtype, False, f'{name} {fault}')


@functools.cache
def _launches(dtype: str) -> list[Any]:
    # Triton is not everywhere, and tables are shown without it.
    import kernel_launches

    return kernel_launches.chosen(
        kernel_launches.students(every=False), *DTYPES[dtype]
    )


def _compile(dtype: str, index: int, gpu: int) -> dict[str, Any]:
    """Compile one launch, in a process of the pool."""
    import kernel_checks

    launch = _launches(dtype)[index]
    start = common.now('cpu')
    code = kernel_checks.inspect(launch, gpu)
    return dict(
        launch=f'{launch.name} {dict(launch.constants)}',
        shared_kib=code.shared / 1024,
        spilled=code.spilled,
        seconds=common.now('cpu') - start,
        faults=[
            fault
            for fault in kernel_checks.faults(launch, dtype, gpu, code)
            if fault in kernel_checks.SERIOUS
            # Without tensor cores float32 may spill, which is slow only.
            and (dtype, fault) != ('fp32', kernel_checks.SPILLS)
        ],
    )
