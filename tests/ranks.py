"""Runs functions and tools in processes of this machine.

All processes are forked by one server that has imported what they need: one
starts in the time of a fork instead of that of an import. Forked from
the tests themselves, they would inherit their threads and locks.
"""

import io
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    [
        'pytest',
        'scipy.stats',
        'torch.distributed',
        'timm',
        'mmpretrain.models',
        'mmpretrain.datasets',
        'mmhgkd.algorithms',
        'mmhgkd.evaluation',
        'mmhgkd.hooks',
        'mmhgkd.runner',
    ]
)
#: Environment and folder before any test.
SURROUNDINGS = dict(os.environ), os.getcwd()


def start_server() -> None:
    """Start the server, if it does not run, with nothing of this test.

    Other processes than those of this module inherit its environment.
    """
    surroundings = dict(os.environ), os.getcwd()
    _take_over(SURROUNDINGS)
    try:
        forkserver.ensure_running()
    finally:
        _take_over(surroundings)


def run_ranks(
    function: Callable[..., Any],
    *arguments: Any,
    world_size: int = 2,
    group: bool = True,
    timeout: float = 300,
) -> list[Any]:
    """Call a function of a module on each rank of a gloo group.

    Args:
        function: Called with the rank and the arguments; found by its name.
        arguments: Picklable.
        world_size: Number of processes.
        group: Whether the function finds the process group initialized.
        timeout: Seconds after which ranks that still run are ended.

    Returns:
        The results in the order of the ranks.

    Raises:
        RuntimeError: If a rank raises, dies or hangs; it holds the traceback
            of each.
    """
    results: dict[int, Any] = {}
    failures: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = f'file://{folder}/store' if group else None
        start_server()
        surroundings = dict(os.environ), os.getcwd()
        ranks, waiting = [], {}
        try:
            for rank in range(world_size):
                receiver, sender = CONTEXT.Pipe(duplex=False)
                process = CONTEXT.Process(
                    target=_run,
                    args=(sender, rank, world_size, store, surroundings),
                    kwargs=dict(function=function, arguments=arguments),
                )
                process.start()
                sender.close()
                ranks.append(process)
                waiting[receiver] = rank
            end = time.monotonic() + timeout
            while waiting:
                ready = wait(list(waiting), max(0, end - time.monotonic()))
                if not ready:
                    failures |= dict.fromkeys(waiting.values(), 'hangs')
                    break
                for receiver in ready:
                    rank = waiting.pop(receiver)
                    try:
                        succeeded, content = receiver.recv()
                    except EOFError:
                        ranks[rank].join()
                        failures[rank] = f'died: {ranks[rank].exitcode}'
                        continue
                    if succeeded:
                        results[rank] = torch.load(
                            io.BytesIO(content), weights_only=False
                        )
                    else:
                        failures[rank] = content
                if failures:
                    # What the others make of it helps, but not for long.
                    end = min(end, time.monotonic() + 2)
        finally:
            for process in ranks:
                process.join(2 if len(results) == world_size else 0)
                process.kill()
                process.join()
    if failures:
        raise RuntimeError(
            '\n'.join(f'rank {n} {failures[n]}' for n in sorted(failures))
        )
    return [results[rank] for rank in range(world_size)]


def _run(
    sender: Connection,
    rank: int,
    world_size: int,
    store: str | None,
    surroundings: tuple[dict[str, str], str],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    try:
        _take_over(surroundings)
        torch.set_num_threads(1)
        if store is not None:
            dist.init_process_group(
                'gloo', store, rank=rank, world_size=world_size
            )
        content = io.BytesIO()
        torch.save(function(rank, *arguments), content)
        if dist.is_initialized():
            dist.destroy_process_group()
        sender.send((True, content.getvalue()))
    except BaseException:
        sender.send((False, traceback.format_exc()))
        sys.exit(1)


def run_script(
    path: Path, *arguments: str, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a tool as from the command line, in the surroundings of the test.

    Args:
        path: The script.
        arguments: Of the command line.
        timeout: Seconds after which it is ended.

    Returns:
        Exit code and output.

    Raises:
        TimeoutExpired: If it was ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        start_server()
        process = CONTEXT.Process(
            target=_run_script,
            args=(str(path), arguments, folder),
            kwargs=dict(surroundings=(dict(os.environ), os.getcwd())),
        )
        process.start()
        process.join(timeout)
        command = [str(path), *arguments]
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(
            command,
            process.exitcode,
            *(Path(folder, name).read_text() for name in ('out', 'err')),
        )


def _run_script(
    path: str,
    arguments: tuple[str, ...],
    folder: str,
    surroundings: tuple[dict[str, str], str],
) -> None:
    _take_over(surroundings)
    for descriptor, name in ((1, 'out'), (2, 'err')):
        with Path(folder, name).open('wb') as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = [path, *arguments]
    sys.path[:0] = [
        str(Path(path).parent),
        *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep)),
    ]
    if not torch.cuda.is_available():
        # This process has no threads yet: a fork spares the imports again.
        get_context = multiprocessing.get_context
        multiprocessing.get_context = lambda method=None: get_context(
            'fork' if method == 'spawn' else method
        )
    runpy.run_path(path, run_name='__main__')


def _take_over(surroundings: tuple[dict[str, str], str]) -> None:
    environment, folder = surroundings
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
