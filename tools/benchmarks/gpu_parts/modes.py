"""Compiled steps, and CUDA graphs: the losses of the plain step."""

import argparse
from typing import Any

import torch
from torch._dynamo.utils import counters

from . import steps
from .results import Results

TITLE = 'Compilation and CUDA graphs against the plain step in float32'
SECONDS = 80
COLUMNS = dict(
    first=('first loss', '.5f'),
    last=('last loss', '.5f'),
    off_first=('off at the first step', '.1e'),
    off=('off at most', '.1e'),
    graphs=('graphs', 'd'),
)
PLAIN, COMPILED, CUDA_GRAPHS = 'plain', 'compiled', 'CUDA graphs'


def cases(args: argparse.Namespace) -> list[str]:
    """The three ways to run a step."""
    return [PLAIN, COMPILED, CUDA_GRAPHS]


def run(args: argparse.Namespace, results: Results) -> None:
    """Train the same steps in each way; the last batch is smaller."""
    ways: dict[str, bool | dict[str, Any]] = {
        PLAIN: False,
        COMPILED: dict(backend='aot_eager') if args.quick else True,
    }
    if args.device.startswith('cuda'):
        ways[CUDA_GRAPHS] = dict(mode='reduce-overhead')
    expected: list[float] = []
    for case, compile in ways.items():
        torch._dynamo.reset()
        counters.clear()
        with steps.exact_products(args.device):
            losses = train(args, compile)
        expected = expected or losses
        off = [
            abs(x - y) / abs(y) for x, y in zip(losses, expected, strict=True)
        ]
        results.add(
            case,
            first=losses[0],
            last=losses[-1],
            off_first=off[0],
            off=max(off),
            graphs=counters['stats']['unique_graphs'],
        )
        # The order of sums differs, and steps make more of it.
        results.check(case, off[0] < 1e-4, 'the first loss differs')
        results.check(case, max(off) < 1e-2, 'a later loss differs')
        results.check(
            case,
            counters['stats']['unique_graphs'] <= 2,
            'more than a graph each for teacher and student',
        )


def train(
    args: argparse.Namespace, compile: bool | dict[str, Any]
) -> list[float]:
    """Losses of some steps."""
    batch = 6 if args.quick else args.batch_sizes[0]
    number = 3 if args.quick else 6
    step, images = steps.build(
        args, batch, compile=compile, drop_path_rate=0.0
    )
    losses = []
    for index in range(number):
        last = index == number - 1
        loss = step.forward(images[:-1] if last else images)
        step.optim_wrapper.update_params(loss)
        losses.append(float(loss))
    return losses
