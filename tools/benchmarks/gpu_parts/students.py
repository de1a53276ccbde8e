"""The whole student: packed against masked, Triton against PyTorch."""

import argparse
from typing import Any

import torch
from torch import Tensor

from mmhgkd.backbones import SparseResNet
from mmhgkd.masks import RandomUnitMask
from mmhgkd.runner.empty_words import without_weights_told

from . import steps
from .kernels import relative_error
from .results import Results

TITLE = 'The student against the masked one in float64'
SECONDS = 30
COLUMNS = dict(
    output=('error of the features', '.1e'),
    gradient=('error of the gradients', '.1e'),
    repeats=('repeats bit for bit', ''),
)
TRITON, TORCH, MASKED = (
    'packed, Triton',
    'packed, PyTorch',
    'masked, PyTorch',
)
BACKENDS = {TRITON: 'packed', TORCH: 'packed_torch', MASKED: 'masked'}


def cases(args: argparse.Namespace) -> list[str]:
    """The three forms of the student in float32."""
    return list(BACKENDS)


def run(args: argparse.Namespace, results: Results) -> None:
    """Compare features and gradients of one step."""
    from mmhgkd.sparse.triton import uses_triton

    batch = 2 if args.quick else 8
    side = args.image_size
    mask = RandomUnitMask().draw(batch, side, side, 0, args.device)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, side, side, generator=generator)
    images = images.to(args.device)

    def measure(
        backend: str, dtype: torch.dtype
    ) -> tuple[list[Tensor], Tensor]:
        torch.manual_seed(0)
        net: Any = SparseResNet(
            args.depth, backend=backend, **steps.widths(args)
        )
        with without_weights_told():
            net.init_weights()
        net.to(args.device, dtype).train()
        rows = [x.rows() for x in net(images.to(dtype), mask)]
        weights = torch.Generator().manual_seed(1)
        loss = torch.stack(
            [
                (x * torch.randn(x.shape, generator=weights).to(x)).mean()
                for x in rows
            ]
        ).sum()
        loss.backward()
        gradients = [
            x.grad.flatten() for x in net.parameters() if x.grad is not None
        ]
        return [x.detach() for x in rows], torch.cat(gradients)

    with steps.exact_products(args.device):
        features, gradient = measure('masked', torch.float64)
        for case, backend in BACKENDS.items():
            if case == TRITON and not uses_triton(images):
                continue
            first = measure(backend, torch.float32)
            second = measure(backend, torch.float32)
            results.add(
                case,
                output=max(map(relative_error, first[0], features)),
                gradient=relative_error(first[1], gradient),
                repeats='yes'
                if torch.equal(first[1], second[1])
                and all(map(torch.equal, first[0], second[0]))
                else 'no',
            )
    # Batch norm makes much of the order of sums, in any two ways to compute
    # the same: what PyTorch has against float64 is the scale.
    for case, row in results.rows.items():
        for key in ('output', 'gradient'):
            scale = min(results.rows[x][key] for x in (TORCH, MASKED))
            results.check(
                case,
                row[key] <= 10 * scale + 1e-5,
                f'the {key} is off by more than ten times as much as '
                "PyTorch's",
            )
        if case == TRITON:
            results.check(case, row['repeats'] == 'yes', 'other bits')
