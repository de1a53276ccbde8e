"""All that has to be measured on a GPU, by one command.

    python tools/benchmarks/gpu_report.py --json report.json \
        --markdown docs/speed.md

It takes ten minutes at most. Each part runs in a process of its own and under
a time limit of its own, so that one that crashes or hangs loses nothing else;
the files are written anew after each part, with what it has reached:

1. the kernels compile, fit the shared memory and do not spill;
2. every kernel against float64, at real and odd shapes, in all precisions;
3. the whole student, packed against masked and Triton against PyTorch;
4. training steps: no NaN, a loss that falls, no wait for the device;
5. tables of speed, peak memory and busy share of the encoder and the step;
6. the compiled step and CUDA graphs, with the losses of the plain step;
7. a sweep of the blocks, which writes a table for ``MMHGKD_BLOCKS``;
8. two processes on one GPU.

``--markdown`` writes between two marks of a page, or a page of its own. The
exit code is 1 if a check fails or a part does not come to its end.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import torch
from gpu_parts import PARTS, results
from gpu_parts.results import PASSED, Results

from mmhgkd.report import to_markdown
from mmhgkd.runner import command_line
from mmhgkd.utils import ConfigError

BEGIN, END = '<!-- gpu_report begins -->', '<!-- gpu_report ends -->'
UNKNOWN = 'not measured'
# What a part may need to be ended.
GRACE = 5


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    cuda = torch.cuda.is_available()
    numbers = ', '.join(f'{x} {part.TITLE}' for x, part in PARTS.items())
    add(
        '--parts',
        type=int,
        nargs='+',
        choices=list(PARTS),
        default=list(PARTS),
        metavar='N',
        help=numbers,
    )
    add('--json', metavar='OUT', help='file for the numbers')
    add('--markdown', metavar='OUT', help='file for the tables')
    add('--blocks', default='blocks.json', help='file for the tuning table')
    add('--minutes', type=float, default=10, help='of all parts together')
    add('--device', default='cuda' if cuda else 'cpu')
    add('--depth', type=int, default=50, help='of the ResNet')
    add('--image-size', type=int, default=224, help='side in pixels')
    add('--batch-sizes', type=int, nargs='+', default=[64, 256])
    add('--threads', type=int, default=2, help='of a process on the CPU')
    cores = os.cpu_count() or 1
    add('--workers', type=int, default=cores, help='that compile kernels')
    quick = 'try the report itself with tiny sizes, on any machine'
    add('--quick', action='store_true', help=quick)
    args = parser.parse_args(argv)
    if args.minutes <= 0:
        parser.error(f'--minutes must be positive, got {args.minutes}')
    if args.quick:
        args.depth, args.image_size, args.batch_sizes = 18, 64, [2]
        args.threads = 1
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts and write the report; returns the exit code."""
    args = parse_args(argv)
    if not args.quick and not args.device.startswith('cuda'):
        error = ConfigError(
            'no GPU is found, and this measures one; --quick tries the report '
            'with tiny sizes on any machine'
        )
        return command_line.report(error)
    report: dict[str, Any] = dict(
        options=vars(args), machine=machine(args.device), parts={}
    )
    seconds = sum(PARTS[number].SECONDS for number in args.parts)
    start = time.monotonic()
    for number in args.parts:
        share = PARTS[number].SECONDS / seconds
        print(f'part {number}: {PARTS[number].TITLE}', flush=True)
        found = run_part(number, args, 60 * args.minutes * share - GRACE)
        report['parts'][str(number)] = found
        report['minutes'] = (time.monotonic() - start) / 60
        write(report, args)
        print(f'part {number}: {found["state"]}', flush=True)
    print(render(report, args), end='')
    return int(any(not passed(x) for x in report['parts'].values()))


def machine(device: str) -> dict[str, str]:
    """What the numbers depend on."""
    found = dict(torch=torch.__version__, gpu='none')
    if device.startswith('cuda'):
        found['cuda'] = str(torch.version.cuda)
        found['gpu'] = torch.cuda.get_device_name(device)
    return found


def run_part(
    number: int, args: argparse.Namespace, limit: float
) -> dict[str, Any]:
    """Run a part in its own process.

    Returns:
        dict: ``state``: 'finished', or what has ended it; ``rows``: what it
        has measured until then; ``seconds``; ``output``: the end of what it
        printed, unless it finished.
    """
    context: Any = multiprocessing.get_context(common.START_METHOD)
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / 'rows.json', Path(folder) / 'log.txt'
        process = context.Process(
            target=serve, args=(number, args, out, log), name=f'part {number}'
        )
        start = time.monotonic()
        process.start()
        limit = max(limit, 1)
        process.join(limit)
        state = 'finished'
        if process.exitcode is None:
            state = f'ended after {limit:.0f} s'
        elif process.exitcode:
            state = f'ended with exit code {process.exitcode}'
        # Those that it has started, too; they share its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # It has no group of its own before it has begun.
        process.kill()
        process.join()
        found = dict(
            state=state,
            rows=results.read(out),
            seconds=time.monotonic() - start,
        )
        if state != 'finished' and log.exists():
            found['output'] = log.read_text(errors='replace')[-2000:]
    return found


def serve(number: int, args: argparse.Namespace, out: Path, log: Path) -> None:
    """Run a part, in its process."""
    os.setsid()
    stream = log.open('w', encoding='utf-8', buffering=1)
    # Those of libraries, too.
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = stream
    torch.set_num_threads(args.threads)
    try:
        PARTS[number].run(args, Results(out))
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    finally:
        stream.flush()


def passed(part: Mapping[str, Any]) -> bool:
    """Whether a part has finished and all that it checked is right."""
    checks = [row.get('check', PASSED) for row in part['rows'].values()]
    return part['state'] == 'finished' and set(checks) <= {PASSED}


def write(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Write the files that the options name."""
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))
    if args.markdown:
        page = Path(args.markdown)
        text = page.read_text(encoding='utf-8') if page.exists() else ''
        if BEGIN not in text or END not in text:
            text = f'{BEGIN}\n{END}\n'
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        table = render(report, args)
        page.write_text(
            f'{before}{BEGIN}\n\n{table}\n{END}{after}', encoding='utf-8'
        )


def render(report: Mapping[str, Any], args: argparse.Namespace) -> str:
    """Lay all parts out in Markdown, also what nobody has measured."""
    named = report.get('machine', {})
    gpu = named.get('gpu', 'none')
    text = f'GPU: {UNKNOWN}.\n'
    if gpu != 'none':
        text = (
            f'GPU: {gpu}, CUDA {named["cuda"]}, PyTorch {named["torch"]}; '
            f'{report["minutes"]:.1f} minutes.\n'
        )
    for number, part in PARTS.items():
        found = report.get('parts', {}).get(str(number))
        text += f'\n### {number}. {part.TITLE}\n\n'
        if found is not None and not passed(found):
            text += f'The part {found["state"]}; see the checks.\n\n'
        rows = found['rows'] if found else {}
        names = dict.fromkeys([*part.cases(args), *rows])
        lines = []
        for name in names:
            row = rows.get(name, {})
            line = {'case': name}
            for key, (heading, digits) in part.COLUMNS.items():
                here = key in row
                line[heading] = format(row[key], digits) if here else UNKNOWN
            line['check'] = row.get('check', 'none' if row else UNKNOWN)
            lines.append(line)
        text += to_markdown(lines)
    return text


if __name__ == '__main__':
    sys.exit(main())
