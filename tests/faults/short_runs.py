"""Short trainings in processes of their own, which faults are injected into.

One server process has imported what a training needs, and forks each of them:
a training starts in the time of a fork instead of that of the imports. The
processes are real ones all the same, with handlers of signals, files and
death of their own.
"""

import faulthandler
import gc
import importlib.util
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from yapf.yapflib import yapf_api

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
#: The same with half of the layers, 2 epochs and a checkpoint of each second
#: of its 8 iterations, where there are 16 images.
SMALLER_CONFIG = f"""{CONFIG}
model['backbone'].update(
    num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))
model['neck'].update(in_channels=(8, 16), width=16)
train_cfg['max_epochs'] = 2
param_scheduler[0]['end'] = 2
param_scheduler[1]['end'] = 2
"""
CONTEXT = multiprocessing.get_context('forkserver')
PRELOADED = [
    'mmpretrain.models',
    'mmpretrain.datasets',
    'mmhgkd.algorithms',
    'mmhgkd.cli.train',
    'mmhgkd.hooks',
    'mmcv.ops',
    'mmhgkd.runner.command_line',
    'mmpretrain.engine',
    'mmpretrain.visualization',
    'setuptools',
    'yapf.yapflib.yapf_api',
]


class Process(Protocol):
    """What a process of :mod:`multiprocessing` has as well."""

    @property
    def pid(self) -> int | None:
        """Its id."""

    @property
    def exitcode(self) -> int | None:
        """None while it runs; negative if a signal has ended it."""

    def kill(self) -> None:
        """End it by SIGKILL."""

    def join(self) -> None:
        """Wait for its end."""


class CommandLine:
    """``python tools/train.py``, started as its users do."""

    def __init__(
        self,
        folder: Path,
        argv: Sequence[str],
        environment: dict[str, str],
        log: Path,
    ) -> None:
        with log.open('ab') as file:
            self._process = subprocess.Popen(
                [sys.executable, str(TOOLS / 'train.py'), *argv],
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self.pid = self._process.pid

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> None:
        self._process.wait()


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
    faulthandler.register(signal.SIGUSR2)
    # A look at all that the server has imported would copy its memory.
    gc.freeze()
    # Each checkpoint holds the config, whose layout would take longer than
    # the training.
    yapf_api.FormatCode = lambda text, **settings: (text, True)
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
        images (int): Number of images. Defaults to 24.
    """

    def __init__(
        self,
        folder: Path,
        processes: int = 1,
        config: str = CONFIG,
        options: Sequence[str] = (),
        images: int = 24,
    ) -> None:
        self.folder = folder
        self.processes = processes
        self.options = list(options)
        self.work_dir = folder / 'run'
        self.log = folder / 'log.txt'
        if not (folder / 'images').exists():
            write_images(folder / 'images', images)
        (folder / 'config.py').write_text(config)

    def start(self, command_line: bool = False) -> list[Any]:
        """Start all ranks; each continues what is in the work folder.

        Args:
            command_line (bool): Whether each is a new Python process, and
                not forked by the server. Defaults to False.
        """
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
        ranks: list[Any] = []
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
            arguments = self.folder, argv, environment, self.log
            if command_line:
                ranks.append(CommandLine(*arguments))
                continue
            process = CONTEXT.Process(target=train, args=arguments)
            process.start()
            ranks.append(process)
        return ranks

    def finish(
        self, ranks: Sequence[Process], timeout: float = 240
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
        for rank, code in zip(ranks, codes, strict=True):
            if code is None:
                _show_stacks(rank.pid)
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
            if None in codes:  # no second try makes a hang good
                break
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


def _show_stacks(pid: int) -> None:
    """Let a process that hangs and its workers write where they are."""
    children = Path(f'/proc/{pid}/task/{pid}/children')
    with suppress(OSError):
        for process in (str(pid), *children.read_text().split()):
            os.kill(int(process), signal.SIGUSR2)
    time.sleep(1)


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
    CONTEXT.set_forkserver_preload(PRELOADED)


def heed_signals() -> None:
    """Let processes that are started from now on heed all signals.

    ``nohup`` and the background of a shell switch some of them off, for the
    processes that a process starts, too.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
