"""Preempt a job of two tasks twice, and compare it with an undisturbed run.

The first time Slurm sends the signal before the time limit, the second time
the job is queued again from outside.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from soak import CONFIG, differences, free_port, write_images

SLURM_TRAIN = Path(__file__).resolve().parents[2] / 'tools/slurm_train.sh'
# Nothing is saved but at the signals and at the end.
LONGER = """
train_cfg['max_epochs'] = 12
param_scheduler[1]['end'] = 12
train_dataloader['num_workers'] = 1
default_hooks['checkpoint']['interval'] = 1000
"""
SLOW = """
custom_imports = dict(imports=['slow_until_preempted_hook'])
custom_hooks.append(dict(type='SlowUntilPreemptedHook'))
"""


def start(name: str, config: str, **variables: str) -> str:
    """Run ``tools/slurm_train.sh`` and return what it prints."""
    Path(f'{name}.py').write_text(config)
    environment = dict(
        os.environ,
        GPUS='2',
        CPUS_PER_TASK='1',
        PORT=str(free_port()),
        **variables,
    )
    process = subprocess.run(
        ['bash', str(SLURM_TRAIN), 'check', name, f'{name}.py', name],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    if process.returncode:
        sys.exit(f'{process.stdout}\n{name}: exit code {process.returncode}')
    return process.stdout


class Job:
    """A job that was submitted.

    Args:
        number (str): Its id.
        log (Path): Its output.
    """

    def __init__(self, number: str, log: Path) -> None:
        self.number = number
        self.log = log

    def field(self, name: str) -> str:
        text = subprocess.check_output(
            ['scontrol', 'show', 'job', self.number], text=True
        )
        found = re.search(rf'\b{name}=(\S*)', text)
        assert found, text
        return found[1]

    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ''

    def wait(self, what: str, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + 300
        while not reached():
            state = self.field('JobState')
            if state in ('FAILED', 'CANCELLED', 'TIMEOUT') or (
                time.monotonic() > end
            ):
                sys.exit(
                    f'the job is {state} with the exit code '
                    f'{self.field("ExitCode")} before {what}'
                )
            time.sleep(0.2)

    def wait_for_training(self, restarts: int) -> None:
        self.wait(
            f'it trains after {restarts} restarts',
            lambda: f'slow, restarts: {restarts}\n' in self.output(),
        )

    def limit(self, minutes: int) -> None:
        subprocess.check_call(
            [
                'scontrol',
                'update',
                f'JobId={self.number}',
                f'TimeLimit={minutes}',
            ]
        )


def final_state(work_dir: str) -> dict[str, Any]:
    """What the last checkpoint holds of the training."""
    last = Path(work_dir, 'last_checkpoint').read_text()
    content = torch.load(last, weights_only=False)
    return {
        key: content[key]
        for key in (
            'state_dict',
            'ema_state_dict',
            'optimizer',
            'param_schedulers',
        )
    }


def main() -> None:
    """Do it in the current folder."""
    write_images(Path('images'))
    config = CONFIG + LONGER
    submitted = start(
        'preempted', config + SLOW, REQUEUE='1', TIME='10', SIGNAL_SECONDS='10'
    )
    number = submitted.split()[-1]
    job = Job(number, Path(f'preempted/slurm-{number}.log'))
    # A signal that comes before the training listens ends the job for good,
    # and how long a start takes is up to the machine.
    job.wait_for_training(restarts=0)
    job.limit(minutes=1)
    with ThreadPoolExecutor() as pool:
        undisturbed = pool.submit(start, 'undisturbed', config)
        job.wait('its restart', lambda: job.field('Restarts') == '1')
        job.limit(minutes=10)
        job.wait_for_training(restarts=1)
        subprocess.check_call(['scontrol', 'requeue', number])
        undisturbed.result()
    job.wait('its end', lambda: job.field('JobState') == 'COMPLETED')

    stops = re.findall(r'stopped by (\w+) after iteration (\d+)', job.output())
    resumed = re.findall(r'resumed epoch: \d+, iter: (\d+)', job.output())
    if [name for name, _ in stops] != ['SIGUSR1', 'SIGTERM'] or resumed != [
        at for _, at in stops
    ]:
        sys.exit(f'stops {stops}, but resumed at {resumed}')
    different = differences(
        final_state('undisturbed'), final_state('preempted')
    )
    if different:
        sys.exit(
            f'other values in {len(different)} places, such as {different[0]}'
        )
    places = ' and '.join(f'{name} after iteration {at}' for name, at in stops)
    print(
        f'Slurm check: passed, stopped by {places}, resumed there, and '
        'ended with the values of an undisturbed run, bit by bit'
    )


if __name__ == '__main__':
    main()
