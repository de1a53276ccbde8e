"""Injects random faults into short trainings, and counts what is lost.

A fault is survived if the run ends with an announced exit code and, resumed
by ``--resume``, reaches its last iteration with the very weights, queue and
optimizer of a run without faults. Where an image is spoilt it has to reach
the end, and if its weights are others, the image has to be listed.

One in ten runs that are hit is a command line of its own, and half of those
are hit while they start up.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from short_runs import (
    CONFIG,
    SMALLER_CONFIG,
    Process,
    Run,
    differences,
    free_port,
    heed_signals,
    preload,
    write_images,
)

__all__ = [
    'CONFIG',
    'Run',
    'differences',
    'free_port',
    'main',
    'preload',
    'write_images',
]

#: Exit codes that the tools announce, and that of ``kill -9``.
RESUMABLE = (3, 75)
KILLED = -signal.SIGKILL
STOPS = ('SIGTERM', 'SIGUSR1', 'SIGINT', 'SIGHUP', 'SIGQUIT')
#: Of so many faults one is that of a run with a command line of its own.
SHARE = 10


class Lost(Exception):
    """A fault was not survived."""


class Reference(NamedTuple):
    """A run without faults."""

    state: dict[str, Any]
    #: Seconds from the start of the process to that of the training.
    startup: float
    #: Seconds from there to the end.
    duration: float


class Trial:
    """A run that is hit by one fault.

    Args:
        run (Run): The run.
        rng (random.Random): Chooses what the fault is like.
        reference (Reference): The same run without it.
        command_line (bool): Whether the run has a command line of its own.
    """

    def __init__(
        self,
        run: Run,
        rng: random.Random,
        reference: Reference,
        command_line: bool,
    ) -> None:
        self.run = run
        self.rng = rng
        self.reference = reference
        self.command_line = command_line
        #: Exit codes of the run that was hit.
        self.codes: list[int | None] = []
        self.spoilt: Path | None = None

    def begin(self, least: float = 0, early: bool = False) -> list[Any]:
        """Start the run, and wait for the moment of the fault.

        Args:
            least (float): Seconds from the start of the training on in which
                nothing happens. Defaults to 0.
            early (bool): Whether the fault may come while a command line
                starts up. Defaults to False.
        """
        ranks = self.run.start(self.command_line)
        share = self.rng.random()
        if early and self.command_line and self.rng.random() < 0.5:
            time.sleep(share * self.reference.startup)
        else:
            wait_for_start(self.run, ranks)
            time.sleep(max(least, share * self.reference.duration))
        return ranks

    def end(
        self,
        ranks: Sequence[Process],
        allowed: Sequence[int],
        may_wait: bool = False,
    ) -> None:
        """Wait for the end, and check the exit codes.

        Args:
            ranks (Sequence[Process]): The processes.
            allowed (Sequence[int]): Exit codes besides 0.
            may_wait (bool): Whether a process may wait for one that has not
                joined it before the training, until the launcher ends it.
                Defaults to False.

        Raises:
            Lost: If it hangs or dies in another way.
        """
        self.codes = self.run.finish(ranks)
        waits = may_wait and not any(
            self.run.work_dir.glob('*/vis_data/scalars.json')
        )
        for code in self.codes:
            if code not in (0, *allowed, *([None] if waits else [])):
                raise Lost(f'exit codes {self.codes}')


def wait_for_start(run: Run, ranks: Sequence[Process]) -> None:
    """Wait until the training has begun."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if (run.work_dir / 'config.py').exists() or any(
            rank.exitcode is not None for rank in ranks
        ):
            return
        time.sleep(0.01)


def kill(trial: Trial) -> None:
    """``kill -9`` at any moment."""
    ranks = trial.begin(early=True)
    ranks[0].kill()
    trial.end(ranks, (KILLED,))


def terminate(trial: Trial) -> None:
    """A signal, as of Slurm's time limit or of a terminal."""
    ranks = trial.begin(least=0.3, early=True)
    number = getattr(signal, trial.rng.choice(STOPS))
    with suppress(ProcessLookupError):  # the run may be at its end
        os.kill(ranks[0].pid, number)
    # Before the training listens a signal has its usual effect.
    usual = (-number, 130) if number == signal.SIGINT else (-number,)
    trial.end(ranks, (75, *usual))


def fill_disk(trial: Trial) -> None:
    """No file may grow beyond some size any more."""
    ranks = trial.begin()
    size = trial.rng.choice([0, 1000, 50_000])
    for rank in ranks:
        with suppress(ProcessLookupError):
            resource.prlimit(
                rank.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
            )
    trial.end(ranks, RESUMABLE)


def spoil_image(trial: Trial) -> None:
    """An image breaks or vanishes during the training."""
    ranks = trial.begin()
    path = trial.rng.choice(sorted((trial.run.folder / 'images').iterdir()))
    trial.spoilt = path
    content = path.read_bytes()
    how = trial.rng.choice(['missing', 'empty', 'cut', 'text'])
    if how == 'missing':
        path.unlink()
    else:
        path.write_bytes(
            dict(empty=b'', cut=content[:99], text=b'no image')[how]
        )
    trial.end(ranks, ())


def spoil_checkpoint(trial: Trial) -> None:
    """``kill -9``, and the newest checkpoint is damaged on the disk."""
    kill(trial)
    rng = trial.rng
    found = trial.run.checkpoints()
    how = rng.choice(['cut', 'bit', 'empty', 'record'])
    if how == 'record' and found:
        (trial.run.work_dir / 'last_checkpoint').write_bytes(b'')
    elif len(found) > 1:  # without another one the run has to start anew
        content = bytearray(found[0].read_bytes())
        place = rng.randrange(len(content))
        if how == 'cut':
            content = content[:place]
        elif how == 'bit':
            content[place] ^= 1 << rng.randrange(8)
        else:
            content = bytearray()
        found[0].write_bytes(content)


def kill_worker(trial: Trial) -> None:
    """A process that loads data dies."""
    ranks = trial.begin()
    children = Path(f'/proc/{ranks[0].pid}/task/{ranks[0].pid}/children')
    with suppress(FileNotFoundError, ProcessLookupError):
        workers = children.read_text().split()
        if workers:
            os.kill(int(trial.rng.choice(workers)), signal.SIGKILL)
    trial.end(ranks, RESUMABLE)


def lose_rank(trial: Trial) -> None:
    """One of two processes dies, be it the one that writes."""
    ranks = trial.begin(early=True)
    trial.rng.choice(ranks).kill()
    trial.end(ranks, (KILLED, *RESUMABLE), may_wait=True)


FAULTS: dict[str, Callable[[Trial], None]] = {
    'kill': kill,
    'signal': terminate,
    'disk': fill_disk,
    'image': spoil_image,
    'checkpoint': spoil_checkpoint,
    'worker': kill_worker,
    'rank': lose_rank,
}


def survive(kind: str, trial: Trial) -> None:
    """Inject one fault and resume the run.

    Raises:
        Lost: If anything is lost.
    """
    run, reference = trial.run, trial.reference.state
    FAULTS[kind](trial)
    try:
        run.complete()
    except RuntimeError as error:
        raise Lost(str(error)) from error
    state = run.state()
    different = differences(reference, state)
    if trial.spoilt is not None:
        if state['iter'] != reference['iter']:
            raise Lost('did not reach the end')
        listed = run.work_dir / 'unreadable_images.txt'
        name = trial.spoilt.name
        if different and not (listed.exists() and name in listed.read_text()):
            raise Lost(f'{name} is not listed')
    elif different:
        raise Lost(f'other weights: {", ".join(different[:3])}')


class Soak:
    """Faults in the runs of one folder.

    Args:
        root (Path): Folder for the runs.
        kinds (Sequence[str]): Kinds of faults, one after the other.
    """

    def __init__(self, root: Path, kinds: Sequence[str]) -> None:
        self.root = root
        self.kinds = list(kinds)
        self._references: dict[tuple[int, bool], Reference] = {}

    def inject(self, seed: int, number: int) -> dict[str, Any]:
        """Inject a fault.

        Returns:
            dict: What it was, and what became of the run.
        """
        kind = self.kinds[number % len(self.kinds)]
        command_line = number % SHARE == SHARE - 1
        begin = time.monotonic()
        processes = 2 if kind == 'rank' else 1
        reference = self.reference(processes, command_line)
        folder = self.root / f'{seed}_{number}'
        trial = Trial(
            self._run(folder, processes),
            random.Random(seed * 1_000_003 + number),
            reference,
            command_line,
        )
        lost = ''
        try:
            survive(kind, trial)
        except Lost as error:
            lost = str(error)
            print(trial.run.log.read_text()[-3000:])
        shutil.rmtree(folder)
        seconds = round(time.monotonic() - begin, 1)
        outcome = f'LOST, {lost}' if lost else 'survived'
        print(f'{seed} {number} {kind}: {outcome}, {seconds} s', flush=True)
        return dict(
            seed=seed,
            number=number,
            kind=kind,
            command_line=command_line,
            codes=trial.codes,
            lost=lost,
            seconds=seconds,
        )

    def reference(self, processes: int, command_line: bool) -> Reference:
        """The run without faults, which is done once.

        Raises:
            RuntimeError: If it fails, or a command line of its own changes
                its weights.
        """
        key = processes, command_line
        if key not in self._references:
            name = f'reference{processes}{"c" * command_line}'
            run = self._run(self.root / name, processes)
            begin = time.monotonic()
            ranks = run.start(command_line)
            wait_for_start(run, ranks)
            start = time.monotonic()
            if set(run.finish(ranks)) != {0}:
                raise RuntimeError(run.log.read_text()[-3000:])
            end = time.monotonic()
            found = Reference(run.state(), start - begin, end - start)
            other = self._references.get((processes, not command_line))
            if other and differences(other.state, found.state):
                raise RuntimeError('a command line gives other weights')
            self._references[key] = found
        return self._references[key]

    @staticmethod
    def _run(folder: Path, processes: int) -> Run:
        return Run(folder, processes, SMALLER_CONFIG, images=16)


def table(records: Sequence[dict[str, Any]]) -> str:
    """Faults by kind: how many, how many ended the run, how many are lost."""
    rows = ['| fault | runs | ended by it | lost |', '|---|---|---|---|']
    kinds = {record['kind']: None for record in records}
    for kind in (*kinds, 'all'):
        chosen = [r for r in records if kind in (r['kind'], 'all')]
        ended = sum(set(record['codes']) != {0} for record in chosen)
        lost = sum(bool(record['lost']) for record in chosen)
        rows.append(f'| {kind} | {len(chosen)} | {ended} | {lost} |')
    return '\n'.join(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Inject the faults.

    Returns:
        int: 0 if all were survived, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--faults', type=int, default=200, help='of each seed')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--kinds', nargs='+', choices=list(FAULTS), default=list(FAULTS)
    )
    parser.add_argument(
        '--results',
        type=Path,
        help='JSON file of the results; the faults that it has are left out',
    )
    args = parser.parse_args(argv)
    heed_signals()
    preload()
    records: list[dict[str, Any]] = []
    if args.results and args.results.exists():
        records = json.loads(args.results.read_text())
    done = {(record['seed'], record['number']) for record in records}
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(Path(name), args.kinds)
        for number, seed in product(range(args.faults), args.seeds):
            if (seed, number) in done:
                continue
            records.append(soak.inject(seed, number))
            if args.results:
                args.results.write_text(json.dumps(records))
    lost = sum(bool(record['lost']) for record in records)
    seconds = sum(record['seconds'] for record in records)
    print(table(records))
    print(f'{len(records) - lost} survived, {lost} lost, {seconds:.0f} s')
    return int(lost > 0)


if __name__ == '__main__':
    sys.exit(main())
