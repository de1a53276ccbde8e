import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def run_script(
    name: str, *argv: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    environment = {**os.environ, 'PATH': path, **variables}
    return subprocess.run(
        ['bash', str(TOOLS / name), *argv],
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def recorder(tmp_path: Path) -> str:
    """A PATH whose programs print one argument a line."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in ('python', 'srun', 'sbatch'):
        program = folder / name
        # sbatch gets its script by the standard input
        program.write_text(
            f'#!/bin/bash\nprintf "%s\\n" {name} "$@"\n'
            f'[[ {name} != sbatch ]] || /bin/cat\n'
        )
        program.chmod(0o755)
    return f'{folder}{os.pathsep}{os.defpath}'


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('dist_train.sh', ['CONFIG', 'GPUS']),
        ('dist_test.sh', ['CONFIG', 'CHECKPOINT', 'GPUS']),
        ('slurm_train.sh', ['PARTITION', 'JOB_NAME', 'CONFIG', 'WORK_DIR']),
        ('slurm_test.sh', ['PARTITION', 'JOB_NAME', 'CONFIG', 'CHECKPOINT']),
    ],
)
def test_usage(name: str, arguments: list[str], recorder: str) -> None:
    process = run_script(name, *arguments[1:], PATH=recorder)
    assert process.returncode == 2
    assert process.stdout == ''
    assert process.stderr.startswith('usage:')
    assert f'{name} {" ".join(arguments)} [' in process.stderr
    assert run_script(name, *arguments, PATH=recorder).returncode == 0


def test_dist_train_arguments(recorder: str) -> None:
    process = run_script(
        'dist_train.sh',
        'my config.py',
        '4',
        '--work-dir',
        'my run',
        PATH=recorder,
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='node0',
        PORT='1234',
    )
    assert process.stdout.splitlines() == [
        'python',
        '-m',
        'torch.distributed.run',
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=node0',
        '--master_port=1234',
        '--nproc_per_node=4',
        f'{TOOLS}/train.py',
        'my config.py',
        '--launcher',
        'pytorch',
        '--work-dir',
        'my run',
    ]


def test_dist_test_arguments(recorder: str) -> None:
    process = run_script(
        'dist_test.sh',
        'my config.py',
        'a b.pth',
        '2',
        '--out',
        'my results.pkl',
        PATH=recorder,
    )
    assert process.stdout.splitlines() == [
        'python',
        '-m',
        'torch.distributed.run',
        '--nnodes=1',
        '--node_rank=0',
        '--master_addr=127.0.0.1',
        '--master_port=29500',
        '--nproc_per_node=2',
        f'{TOOLS}/test.py',
        'my config.py',
        'a b.pth',
        '--launcher',
        'pytorch',
        '--out',
        'my results.pkl',
    ]


@pytest.mark.parametrize(
    ('variables', 'resources', 'launcher'),
    [
        (
            {},
            ['--gres=gpu:8', '--nodes=1', '--ntasks=8', '--ntasks-per-node=8'],
            'slurm',
        ),
        (
            {'GPUS': '2'},
            ['--gres=gpu:2', '--nodes=1', '--ntasks=2', '--ntasks-per-node=2'],
            'slurm',
        ),
        (
            {'GPUS': '16', 'GPUS_PER_NODE': '4'},
            [
                '--gres=gpu:4',
                '--nodes=4',
                '--ntasks=16',
                '--ntasks-per-node=4',
            ],
            'slurm',
        ),
        ({'GPUS': '0'}, ['--ntasks=1'], 'none'),
    ],
)
@pytest.mark.parametrize(
    ('name', 'last', 'program'),
    [
        (
            'slurm_train.sh',
            'my run',
            ['train.py', 'my config.py', '--work-dir', 'my run'],
        ),
        ('slurm_test.sh', 'a b.pth', ['test.py', 'my config.py', 'a b.pth']),
    ],
)
def test_slurm_arguments(
    recorder: str,
    name: str,
    last: str,
    program: list[str],
    variables: dict[str, str],
    resources: list[str],
    launcher: str,
) -> None:
    process = run_script(
        name,
        'gpu',
        'my job',
        'my config.py',
        last,
        '--amp',
        PATH=recorder,
        CPUS_PER_TASK='3',
        SRUN_ARGS='--mem=1G --exclusive',
        **variables,
    )
    assert process.stdout.splitlines() == [
        'srun',
        '--partition=gpu',
        '--job-name=my job',
        *resources,
        '--cpus-per-task=3',
        *(
            ['--signal=USR1@120', '--kill-on-bad-exit=0', '--wait=120']
            if name == 'slurm_train.sh'
            else ['--kill-on-bad-exit=1']
        ),
        '--mem=1G',
        '--exclusive',
        'python',
        '-u',
        f'{TOOLS}/{program[0]}',
        *program[1:],
        '--launcher',
        launcher,
        '--amp',
    ]


def test_slurm_requeue(recorder: str, tmp_path: Path) -> None:
    """The batch script queues the job again after a stop, and only then."""
    work_dir = tmp_path / 'my run'
    process = run_script(
        'slurm_train.sh',
        'gpu',
        'my job',
        'my config.py',
        str(work_dir),
        PATH=recorder,
        GPUS='16',
        REQUEUE='1',
        TIME='2:00:00',
        SIGNAL_SECONDS='300',
        PORT='1234',
    )
    head, _, script = process.stdout.partition('#!')
    assert head.splitlines() == [
        'sbatch',
        '--partition=gpu',
        '--job-name=my job',
        '--gres=gpu:8',
        '--nodes=2',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--time=2:00:00',
        '--signal=USR1@300',
        '--requeue',
        '--open-mode=append',
        f'--output={work_dir}/slurm-%j.log',
    ]
    for code, queued in ((75, True), (0, False), (2, False)):
        programs = tmp_path / str(code)
        programs.mkdir()
        (programs / 'srun').write_text(
            f'#!/bin/bash\nprintf "%s\\n" "$@"\nexit {code}\n'
        )
        (programs / 'scontrol').write_text('#!/bin/bash\necho queue "$@"\n')
        for program in programs.iterdir():
            program.chmod(0o755)
        job = subprocess.run(
            ['bash'],
            input=f'#!{script}',
            env={
                'PATH': f'{programs}{os.pathsep}{os.defpath}',
                'SLURM_JOB_ID': '7',
            },
            capture_output=True,
            text=True,
        )
        assert job.returncode == code, job.stderr
        lines = job.stdout.splitlines()
        assert lines[:7] == [
            '--kill-on-bad-exit=0',
            '--wait=120',
            'python',
            '-u',
            f'{TOOLS}/train.py',
            'my config.py',
            '--work-dir',
        ]
        assert lines[7] == str(work_dir)
        assert '--resume' in lines
        assert ('queue requeue 7' in lines) == queued


def test_dist_train_rendezvous(recorder: str) -> None:
    process = run_script(
        'dist_train.sh',
        'config.py',
        '4',
        PATH=recorder,
        NNODES='2:4',
        RDZV_ID='job7',
        MASTER_ADDR='node0',
    )
    assert process.stdout.splitlines()[3:8] == [
        '--nnodes=2:4',
        '--rdzv_backend=c10d',
        '--rdzv_id=job7',
        '--rdzv_endpoint=node0:29500',
        '--nproc_per_node=4',
    ]


@pytest.mark.parametrize(
    'number', [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL]
)
def test_launcher_that_ends_makes_its_ranks_save(
    toy: Path, number: signal.Signals
) -> None:
    """By the signal that it passes on, or as it is gone."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    paths = [str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
    launcher = subprocess.Popen(
        [
            *('bash', str(TOOLS / 'dist_train.sh'), str(toy), '2'),
            *('--work-dir', 'run', '--no-validate', '--cfg-options'),
            *('train_dataloader.batch_size=1', 'train_cfg.max_iters=10000000'),
            'default_hooks.checkpoint.interval=10000000',
        ],
        env={
            **os.environ,
            'PATH': path,
            'CUDA_VISIBLE_DEVICES': '',
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': os.pathsep.join(paths),
            'PORT': str(port),
        },
    )
    try:
        wait_until(lambda: any(Path('run').glob('*/vis_data/scalars.json')))
        launcher.send_signal(number)
        launcher.wait(240)
        wait_until(lambda: Path('run/interrupted.pth').is_file())
    finally:
        launcher.kill()
        launcher.wait()
    # The lock goes with the rank that holds it.
    wait_until(lambda: not is_locked(Path('run/.lock')))
    content = torch.load('run/interrupted.pth', weights_only=False)
    assert content['meta']['iter'] == content['state_dict']['steps']


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_locked(path: Path) -> bool:
    with path.open('a') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_dist_train_runs_two_processes_on_the_cpu(toy: Path) -> None:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    process = run_script(
        'dist_train.sh',
        str(toy),
        '2',
        '--work-dir',
        'run',
        '--cfg-options',
        'train_dataloader.batch_size=1',
        CUDA_VISIBLE_DEVICES='',
        OMP_NUM_THREADS='1',
        PYTHONPATH=str(Path(__file__).parent),
        PORT=str(port),
    )
    assert process.returncode == 0, process.stderr
    assert 'terminate called' not in process.stderr
    assert 'backend` is set to gloo' in process.stdout
    state = torch.load('run/iter_1.pth', weights_only=False)['state_dict']
    assert state['world_size'] == 2
    # the gradients of the ranks are 0 and 1
    assert state['weight'].item() == pytest.approx(0.95)
