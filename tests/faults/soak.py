"""Injects random faults into short trainings, and counts what is lost.

A fault is survived if the run ends with an announced exit code and, resumed
by ``--resume``, reaches its last iteration with the very weights, queue and
optimizer of a run without faults. Where an image is spoilt it has to reach
the end, and the image has to be listed.
"""

import argparse
import importlib.util
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='mmhgkd.HGKD',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor', mean=[120.] * 3, std=[60.] * 3),
    teacher=dict(
        type='mmhgkd.MIMTeacher',
        backbone=dict(
            type='MAEViT',
            arch=dict(embed_dims=24, num_layers=2, num_heads=2,
                      feedforward_channels=48),
            img_size=64,
            patch_size=16),
        allow_random=True),
    backbone=dict(type='mmhgkd.SparseResNet', depth=18, stem_channels=8,
                  base_channels=8, drop_path_rate=0.1),
    neck=dict(type='mmhgkd.UNetNeck', in_channels=(8, 16, 32, 64), width=32,
              out_channels=24),
    head=dict(
        type='mmhgkd.DistillationHead',
        feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
        similarity_loss=dict(type='mmhgkd.SimilarityDistributionLoss'),
        embedding=dict(type='mmhgkd.StudentEmbedding', in_channels=24,
                       out_channels=24),
        queue=dict(type='mmhgkd.EmbeddingQueue', size=16, embed_dims=24)))
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmhgkd.ImageFolder',
        data_root='images',
        pipeline=[
            dict(type='mmhgkd.LoadImage'),
            dict(type='RandomResizedCrop', scale=64),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs')
        ]))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3),
    clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=3,
         convert_to_iter_based=True)
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=2),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2,
                    max_keep_ckpts=2),
    stop=dict(type='mmhgkd.StopOnSignalHook', interval=2))
custom_hooks = [
    dict(type='EMAHook', momentum=0.01),
    dict(type='mmhgkd.InvalidLossHook', interval=50),
    dict(type='mmhgkd.UnreadableImagesHook', max_share=0.5, interval=1)
]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
"""
#: Exit codes that the tools announce, and that of ``kill -9``.
RESUMABLE = (3, 75)
KILLED = -signal.SIGKILL
CONTEXT = multiprocessing.get_context('forkserver')


def train(
    folder: Path, argv: Sequence[str], environment: dict[str, str], log: Path
) -> None:
    """Run ``tools/train.py`` in this process and end it."""
    os.chdir(folder)
    os.environ.update(environment)
    with log.open('ab') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location(
        'train_tool', TOOLS / 'train.py'
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.exit(module.main(argv))


class Run:
    """A short training in a folder of its own.

    Args:
        folder (Path): Receives the images, the config and the work folder.
        processes (int): Number of ranks. Defaults to 1.
        config (str): Text of the config. Defaults to ``CONFIG``.
        options (Sequence[str]): Further options of ``tools/train.py``.
            Defaults to ().
    """

    def __init__(
        self,
        folder: Path,
        processes: int = 1,
        config: str = CONFIG,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.processes = processes
        self.options = list(options)
        self.work_dir = folder / 'run'
        self.log = folder / 'log.txt'
        if not (folder / 'images').exists():
            write_images(folder / 'images')
        (folder / 'config.py').write_text(config)

    def start(self) -> list[Any]:
        """Start all ranks; each continues what is in the work folder."""
        argv = [
            'config.py',
            '--work-dir',
            'run',
            '--resume',
            *self.options,
            '--launcher',
            'pytorch' if self.processes > 1 else 'none',
        ]
        port = free_port()
        ranks = []
        for rank in range(self.processes):
            environment = dict(
                CUDA_VISIBLE_DEVICES='',
                OMP_NUM_THREADS='1',
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(self.processes),
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=str(port),
            )
            process = CONTEXT.Process(
                target=train, args=(self.folder, argv, environment, self.log)
            )
            process.start()
            ranks.append(process)
        return ranks

    def finish(
        self, ranks: Sequence[BaseProcess], timeout: float = 120
    ) -> list[int | None]:
        """Wait for all ranks, as a launcher does: one lost, all ended.

        Returns:
            list[int or None]: Their exit codes, None for one that hung.
        """
        end = time.monotonic() + timeout
        while any(rank.exitcode is None for rank in ranks):
            if any(rank.exitcode not in (None, 0) for rank in ranks):
                end = min(end, time.monotonic() + 30)
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        codes = [rank.exitcode for rank in ranks]
        for rank in ranks:
            rank.kill()
            rank.join()
        return codes

    def complete(self, tries: int = 3) -> None:
        """Resume until the training is at its end.

        Raises:
            RuntimeError: If it does not get there.
        """
        for _ in range(tries):
            codes = self.finish(self.start())
            if all(code == 0 for code in codes):
                return
        raise RuntimeError(f'cannot be resumed, exit codes {codes}')

    def checkpoints(self) -> list[Path]:
        """All checkpoints, the newest first."""
        return sorted(
            self.work_dir.glob('*.pth'),
            key=lambda path: path.stat().st_mtime_ns,
            reverse=True,
        )

    def state(self) -> dict[str, Any]:
        """Content of the last checkpoint that bears on the training."""
        last = Path((self.work_dir / 'last_checkpoint').read_text())
        content = torch.load(last, weights_only=False)
        keys = (
            'state_dict',
            'ema_state_dict',
            'optimizer',
            'param_schedulers',
        )
        state = {key: content[key] for key in keys if key in content}
        state['iter'] = content['meta']['iter']
        return state


class Lost(Exception):
    """A fault was not survived."""


def started(run: Run, ranks: Sequence[BaseProcess]) -> None:
    """Wait until the training has begun."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (run.work_dir / 'config.py').exists() or any(
            rank.exitcode is not None for rank in ranks
        ):
            return
        time.sleep(0.01)


def end_of(
    run: Run, ranks: Sequence[BaseProcess], allowed: Sequence[int]
) -> None:
    """Wait for the end of a run that was hit, and check its exit codes.

    Raises:
        Lost: If it hangs or dies in another way.
    """
    codes = run.finish(ranks)
    for code in codes:
        if code not in (0, *allowed):
            raise Lost(f'exit codes {codes}')


def kill(run: Run, rng: random.Random, delay: float) -> None:
    """``kill -9`` at any moment."""
    ranks = run.start()
    started(run, ranks)
    time.sleep(delay)
    ranks[0].kill()
    end_of(run, ranks, (KILLED,))


def terminate(run: Run, rng: random.Random, delay: float) -> None:
    """A signal, in the way of Slurm's time limit."""
    ranks = run.start()
    started(run, ranks)
    time.sleep(max(delay, 0.3))
    number = rng.choice([signal.SIGTERM, signal.SIGUSR1])
    with suppress(ProcessLookupError):  # the run may be at its end
        os.kill(ranks[0].pid, number)
    # Before the training listens a signal has its usual effect.
    end_of(run, ranks, (75, -number))


def fill_disk(run: Run, rng: random.Random, delay: float) -> None:
    """No file may grow beyond some size any more."""
    ranks = run.start()
    started(run, ranks)
    time.sleep(delay)
    size = rng.choice([0, 1000, 50_000])
    for rank in ranks:
        with suppress(ProcessLookupError):
            resource.prlimit(
                rank.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
            )
    end_of(run, ranks, RESUMABLE)


def spoil_image(run: Run, rng: random.Random, delay: float) -> None:
    """An image breaks or vanishes during the training."""
    ranks = run.start()
    started(run, ranks)
    time.sleep(delay)
    path = rng.choice(sorted((run.folder / 'images').iterdir()))
    content = path.read_bytes()
    how = rng.choice(['missing', 'empty', 'cut', 'text'])
    if how == 'missing':
        path.unlink()
    else:
        path.write_bytes(
            dict(empty=b'', cut=content[:99], text=b'no image')[how]
        )
    end_of(run, ranks, ())


def spoil_checkpoint(run: Run, rng: random.Random, delay: float) -> None:
    """``kill -9``, and the newest checkpoint is damaged on the disk."""
    kill(run, rng, delay)
    found = run.checkpoints()
    how = rng.choice(['cut', 'bit', 'empty', 'record'])
    if how == 'record' and found:
        (run.work_dir / 'last_checkpoint').write_bytes(b'')
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


def kill_worker(run: Run, rng: random.Random, delay: float) -> None:
    """A process that loads data dies."""
    ranks = run.start()
    started(run, ranks)
    time.sleep(delay)
    children = Path(f'/proc/{ranks[0].pid}/task/{ranks[0].pid}/children')
    with suppress(FileNotFoundError, ProcessLookupError):
        workers = children.read_text().split()
        if workers:
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
    end_of(run, ranks, RESUMABLE)


def lose_rank(run: Run, rng: random.Random, delay: float) -> None:
    """One of two processes dies, be it the one that writes."""
    ranks = run.start()
    started(run, ranks)
    time.sleep(delay)
    rng.choice(ranks).kill()
    end_of(run, ranks, (KILLED, *RESUMABLE))


Fault = Callable[[Run, random.Random, float], None]
FAULTS: dict[str, Fault] = {
    'kill': kill,
    'signal': terminate,
    'disk': fill_disk,
    'image': spoil_image,
    'checkpoint': spoil_checkpoint,
    'worker': kill_worker,
    'rank': lose_rank,
}


def survives(
    name: str,
    folder: Path,
    reference: dict[str, Any],
    rng: random.Random,
    duration: float,
) -> None:
    """Inject one fault and resume the run.

    Raises:
        Lost: If anything is lost.
    """
    run = Run(folder, processes=2 if name == 'rank' else 1)
    FAULTS[name](run, rng, rng.uniform(0, duration))
    try:
        run.complete()
    except RuntimeError as error:
        raise Lost(str(error)) from error
    if name == 'image':
        if run.state()['iter'] != reference['iter']:
            raise Lost('did not reach the end')
        return
    different = differences(reference, run.state())
    if different:
        raise Lost(f'other weights: {", ".join(different[:3])}')


def differences(first: Any, second: Any, path: str = '') -> list[str]:
    """Places at which two nested states are not equal bit by bit."""
    if isinstance(first, Tensor):
        same = isinstance(second, Tensor) and torch.equal(first, second)
        return [] if same else [path]
    if isinstance(first, dict):
        if not isinstance(second, dict) or first.keys() != second.keys():
            return [path]
        return [
            place
            for key in first
            for place in differences(first[key], second[key], f'{path}/{key}')
        ]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [path]
        return [
            place
            for index, pair in enumerate(zip(first, second, strict=True))
            for place in differences(*pair, f'{path}/{index}')
        ]
    return [] if first == second else [path]


def write_images(folder: Path, count: int = 24) -> None:
    """Write small random pictures."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((72, 72)).save(folder / f'{index}.png')


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def preload() -> None:
    """Import what every run needs once for all of them."""
    CONTEXT.set_forkserver_preload(
        ['mmpretrain.models', 'mmpretrain.datasets', 'mmhgkd.algorithms']
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Inject the faults.

    Returns:
        int: 0 if all were survived, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--faults', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--kinds', nargs='+', choices=list(FAULTS), default=list(FAULTS)
    )
    args = parser.parse_args(argv)
    preload()
    survived = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        references: dict[int, tuple[dict[str, Any], float]] = {}
        for number in range(args.faults):
            rng = random.Random(args.seed * 1_000_003 + number)
            kind = args.kinds[number % len(args.kinds)]
            ranks = 2 if kind == 'rank' else 1
            if ranks not in references:
                run = Run(root / f'reference{ranks}', ranks)
                processes = run.start()
                started(run, processes)
                begin = time.monotonic()
                if set(run.finish(processes)) != {0}:
                    print(run.log.read_text()[-3000:])
                    return 1
                references[ranks] = run.state(), time.monotonic() - begin
            folder = root / str(number)
            try:
                survives(
                    kind,
                    folder,
                    references[ranks][0],
                    rng,
                    references[ranks][1],
                )
            except Lost as error:
                print(f'{number} {kind}: LOST, {error}', flush=True)
                print((folder / 'log.txt').read_text()[-3000:])
            else:
                survived += 1
                print(f'{number} {kind}: survived', flush=True)
            shutil.rmtree(folder)
    print(f'{survived} survived, {args.faults - survived} lost')
    return 0 if survived == args.faults else 1


if __name__ == '__main__':
    sys.exit(main())
