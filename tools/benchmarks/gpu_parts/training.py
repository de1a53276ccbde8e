"""Training steps: no NaN, a loss that falls, and no wait for the device."""

import argparse
import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import data_loading
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from step_speed import CONFIGS, TEACHERS

from mmhgkd.runner.command_line import build_runner
from mmhgkd.runner.without_gpu import fall_back_to_full_precision

from . import steps
from .results import Results

TITLE = 'Training'
SECONDS = 60
COLUMNS = dict(
    steps=('steps', 'd'),
    first=('first loss', '.4f'),
    last=('last loss', '.4f'),
    waits=('waits for the device a step', '.1f'),
)
STEP, RUN = 'step of r50_mae, bf16', 'step of a run'
#: Steps that allocate, compile and choose kernels.
WARM_UP = 3
MESSAGE = 'called a synchronizing CUDA operation'


def cases(args: argparse.Namespace) -> list[str]:
    """The bare step, and that of a runner with its hooks."""
    return [STEP, RUN]


def run(args: argparse.Namespace, results: Results) -> None:
    """Train some steps, then with a runner."""
    train(args, results)
    count_waits(args, results)


def train(args: argparse.Namespace, results: Results) -> None:
    """Train on one batch; forward and backward must not wait."""
    batch = args.batch_sizes[0]
    number = 20 if args.quick else 50
    step, images = steps.build(args, batch, 'bf16')
    for group in step.optim_wrapper.param_groups:
        # The config's is for a batch of 4096, and there is no warm-up here.
        group['lr'] = 0.01
    losses = []
    for index in range(number):
        with strict(args.device if index >= WARM_UP else 'cpu'):
            loss = step.forward(images)
            loss.backward()
        step.optim_wrapper.step()
        step.optim_wrapper.zero_grad()
        losses.append(loss.detach())
    values = torch.stack(losses).tolist()
    part = max(number // 5, 1)
    first, last = (sum(x) / part for x in (values[:part], values[-part:]))
    finite = all(map(math.isfinite, values))
    results.add(STEP, steps=number, first=first, last=last)
    if args.device.startswith('cuda'):
        # One would have ended this part.
        results.add(STEP, waits=0.0)
    results.check(STEP, finite, 'the loss is not finite')
    results.check(STEP, last < first, 'the loss does not fall')


@contextmanager
def strict(device: str) -> Iterator[None]:
    """Let what waits for a GPU raise."""
    if not device.startswith('cuda'):
        yield
        return
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


class WaitsHook(Hook):
    """Counts what waits for the device within the steps of a run.

    Args:
        device (str): Where the run trains.
    """

    priority = 'LOWEST'

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith('cuda')
        self.losses: list[float] = []
        self.steps = 0

    def before_train_iter(self, runner: Any, *args: Any, **kw: Any) -> None:
        """Start to warn of what waits."""
        if self.cuda and runner.iter >= WARM_UP:
            torch.cuda.set_sync_debug_mode('warn')
            self.steps += 1

    def after_train_iter(
        self, runner: Any, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Stop to warn, and keep the loss."""
        if self.cuda:
            torch.cuda.set_sync_debug_mode('default')
        outputs = kwargs.get('outputs') or args[-1]
        self.losses.append(float(outputs['loss']))


def count_waits(args: argparse.Namespace, results: Results) -> None:
    """Run a runner with the hooks of the config."""
    batch = min(args.batch_sizes[0], 16)
    number = WARM_UP + (1 if args.quick else 8)
    hook = WaitsHook(args.device)
    with (
        data_loading.image_folder(None, number * batch, 256) as data_root,
        tempfile.TemporaryDirectory() as work_dir,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter('always')
        cfg = run_config(args, batch, data_root, work_dir)
        runner = build_runner(cfg)
        runner.register_hook(hook)
        runner.train()
    found = [x for x in caught if MESSAGE in str(x.message)]
    results.add(RUN, steps=number, first=hook.losses[0], last=hook.losses[-1])
    results.check(
        RUN, all(map(math.isfinite, hook.losses)), 'the loss is not finite'
    )
    if hook.steps:
        waits = len(found) / hook.steps
        results.add(RUN, waits=waits)
        results.check(RUN, waits < 1, f'{waits:.1f} waits a step')


def run_config(
    args: argparse.Namespace, batch: int, data_root: str, work_dir: str
) -> Config:
    """Config of one short epoch."""
    cfg = Config.fromfile(CONFIGS / 'hgkd' / 'r50_mae.py')
    arch, width = TEACHERS['vit-s' if args.quick else 'vit-b']
    cfg.model.teacher.update(checkpoint=None, allow_random=True)
    cfg.model.teacher.backbone.update(arch=arch, img_size=args.image_size)
    cfg.model.backbone.depth = args.depth
    cfg.model.head.direct_loss.update(
        in_channels=[256, 512] if args.depth < 50 else [1024, 2048],
        out_channels=width,
    )
    for transform in cfg.train_pipeline:
        if 'scale' in transform:
            transform.scale = args.image_size
    cfg.train_dataloader.update(
        batch_size=batch, num_workers=0, persistent_workers=False
    )
    cfg.train_dataloader.dataset.update(
        data_root=data_root, pipeline=cfg.train_pipeline
    )
    cfg.train_cfg.max_epochs = 1
    cfg.work_dir, cfg.launcher = work_dir, 'none'
    fall_back_to_full_precision(cfg)
    return cfg
