"""The distillation step of the report: ``configs/hgkd/r50_mae.py``.

60 % of an image are hidden, as with nothing hidden no kernel of ours runs.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import step_speed
import torch
from torch import Tensor
from training_step import TrainingStep

SPARSE = ('--config', 'hgkd/r50_mae', '--mask-ratio', '0.6')


def options(args: argparse.Namespace, *more: str) -> list[str]:
    """Options of the other benchmarks, of those of the report."""
    found = ['--depth', str(args.depth), '--device', args.device]
    found += ['--image-size', str(args.image_size)]
    found += ['--threads', str(args.threads)]
    return [*found, *more]


def widths(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the student, for the interpreter of Triton."""
    return dict(stem_channels=8, base_channels=8) if args.quick else {}


def build(
    args: argparse.Namespace,
    batch_size: int,
    dtype: str = 'fp32',
    compile: bool | dict[str, Any] = False,
    **backbone: Any,
) -> tuple[TrainingStep, Tensor]:
    """The step with the packed student, and images for it."""
    small = ['--teacher', 'vit-s'] if args.quick else []
    more = ['--batch-size', str(batch_size), '--dtype', dtype, *small]
    chosen = step_speed.parse_args(
        options(args, '--rows', 'packed', *SPARSE, *more)
    )
    cfg = step_speed.step_config('packed', chosen)
    cfg.model.compile = compile
    # Else the teacher would not compute in what is compared.
    cfg.model.teacher.precision = 'training'
    cfg.model.backbone.update({**widths(args), **backbone})
    if args.quick:
        cfg.model.head.direct_loss.in_channels = [32, 64]
    step = TrainingStep(cfg.model, cfg.optim_wrapper, chosen)
    side = args.image_size
    generator = torch.Generator().manual_seed(0)
    # Smooth, as noise has nothing that could be learned.
    images = torch.nn.functional.interpolate(
        torch.randn(
            batch_size // step.model.views, 3, 7, 7, generator=generator
        ),
        (side, side),
        mode='bilinear',
    )
    return step, images.to(args.device)


@contextmanager
def exact_products(device: str) -> Iterator[None]:
    """No TF32, so that only the order of sums differs."""
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before
