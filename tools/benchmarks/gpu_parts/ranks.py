"""Two processes on one device, by gloo, against one process."""

import argparse
import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import common
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from . import steps
from .results import Results

TITLE = 'Two processes on one device'
SECONDS = 30
COLUMNS = dict(
    loss=('loss', '.6f'),
    gradient=('norm of the gradients', '.6f'),
    off=('gradients off by', '.1e'),
)
ONE, TWO = 'one process', 'two processes'


def cases(args: argparse.Namespace) -> list[str]:
    """Of the same global batch."""
    return [ONE, TWO]


def run(args: argparse.Namespace, results: Results) -> None:
    """Compare losses and gradients of one step."""
    with tempfile.TemporaryDirectory() as folder:
        alone, *both = (
            _start(args, size, Path(folder) / str(size))[rank]
            for size, rank in ((1, 0), (2, 0), (2, 1))
        )
    loss = sum(x['loss'] for x in both) / 2
    for case, value, found in (
        (ONE, alone['loss'], alone),
        (TWO, loss, both[0]),
    ):
        gradient = found['gradient']
        off = (gradient - alone['gradient']).norm()
        results.add(
            case,
            loss=value,
            gradient=float(gradient.norm()),
            off=float(off / alone['gradient'].norm()),
        )
    results.check(
        TWO, abs(loss / alone['loss'] - 1) < 1e-4, 'the loss differs'
    )
    results.check(TWO, results.rows[TWO]['off'] < 2e-2, 'the gradients differ')
    results.check(
        TWO,
        torch.equal(both[0]['gradient'], both[1]['gradient']),
        'the gradients of the ranks differ',
    )


def _start(
    args: argparse.Namespace, world_size: int, folder: Path
) -> list[dict[str, Any]]:
    if not folder.exists():
        folder.mkdir()
        context: Any = multiprocessing.get_context(common.START_METHOD)
        ranks = [
            context.Process(target=step, args=(args, rank, world_size, folder))
            for rank in range(world_size)
        ]
        for process in ranks:
            process.start()
        for rank, process in enumerate(ranks):
            process.join()
            if process.exitcode:
                raise RuntimeError(
                    f'rank {rank} of {world_size} ends with exit code '
                    f'{process.exitcode}'
                )
    return [torch.load(folder / f'{x}.pth') for x in range(world_size)]


def step(
    args: argparse.Namespace, rank: int, world_size: int, folder: Path
) -> None:
    """Compute loss and gradients of a rank's part of the batch."""
    torch.set_num_threads(args.threads)
    dist.init_process_group(
        'gloo', f'file://{folder}/store', rank=rank, world_size=world_size
    )
    try:
        batch = 4 if args.quick else 32
        training, images = steps.build(args, batch, drop_path_rate=0.0)
        # Larger groups would be others on one process.
        training.model.teacher.group_size = 1
        training.model = DistributedDataParallel(
            training.model, broadcast_buffers=False
        )
        part = images.chunk(world_size)[rank]
        with steps.exact_products(args.device):
            losses = training.model(part, [], mode='loss')
            loss, _ = training.model.module.parse_losses(losses)
            loss.backward()
        gradients = [
            x.grad.flatten()
            for x in training.model.parameters()
            if x.grad is not None
        ]
        content = dict(
            loss=float(loss.detach()), gradient=torch.cat(gradients).cpu()
        )
        torch.save(content, folder / f'{rank}.pth')
    finally:
        dist.destroy_process_group()
