"""A sweep of the blocks of the products, which writes the tuning table."""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import common
import torch

from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse.geometry import Geometry
from mmhgkd.sparse.triton.tuning import (
    Blocks,
    Product,
    gather_gemm_blocks,
    use_blocks,
    weight_gradient_blocks,
)
from mmhgkd.sparse.window import Window

from .results import Results

TITLE = 'Sweep of the blocks, bf16'
SECONDS = 60
COLUMNS = dict(
    default_us=('default us', '.0f'),
    best_us=('best us', '.0f'),
    default=('default blocks', ''),
    best=('best blocks', ''),
    tried=('tried', 'd'),
)
#: A change has to make a product this much faster.
GAIN = 1.05
DEFAULTS = dict(
    gather_gemm=gather_gemm_blocks, weight_gradient=weight_gradient_blocks
)


def cases(args: argparse.Namespace) -> list[str]:
    """A row a product."""
    return [label(product) for product, _ in products(args)]


def label(product: Product) -> str:
    """First cell of a row."""
    kernel, c_in, c_out, _ = product
    return f'{kernel} {c_in} to {c_out}'


def products(args: argparse.Namespace) -> Iterator[tuple[Product, int]]:
    """Those of a ResNet, and the stride of their input."""
    widths = (8, 16) if args.quick else (64, 128, 256, 512)
    for kernel in DEFAULTS:
        for stage, width in enumerate(widths):
            yield (kernel, width, width, 2), 4 * 2**stage


def candidates(args: argparse.Namespace, kernel: str) -> tuple[Blocks, ...]:
    """Blocks that may be faster than the default.

    One that does not fit the GPU fails at its launch, and is passed over.
    """
    if args.quick:
        return (Blocks(32, 16, 16, 4, 2),)
    if kernel == 'gather_gemm':
        return (
            Blocks(128, 256, 64, 8, 5),
            Blocks(128, 256, 32, 8, 5),
            Blocks(128, 128, 64, 8, 4),
            Blocks(128, 128, 32, 4, 5),
            Blocks(128, 64, 64, 4, 5),
            Blocks(64, 128, 64, 4, 5),
            Blocks(64, 64, 64, 4, 5),
        )
    return (
        Blocks(256, 128, 64, 8, 4),
        Blocks(128, 128, 64, 8, 5),
        Blocks(128, 64, 64, 8, 5),
        Blocks(128, 64, 32, 4, 5),
        Blocks(64, 128, 64, 4, 5),
        Blocks(64, 64, 64, 4, 5),
    )


def run(args: argparse.Namespace, results: Results) -> None:
    """Time the candidates, and write those that gain five percent."""
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources

    chosen: list[list] = []
    for product, stride in products(args):
        kernel, c_in, c_out, size = product
        call = launcher(product, stride, args)
        default = DEFAULTS[kernel](c_in, c_out, size)
        best, tried = default, 1
        start = fastest = timed(call, args)
        for blocks in candidates(args, kernel):
            try:
                with use_blocks(product, blocks):
                    seconds = timed(call, args)
            except (CompilationError, OutOfResources):
                continue
            tried += 1
            if seconds < fastest:
                best, fastest = blocks, seconds
        if start < GAIN * fastest:
            best, fastest = default, start
        else:
            chosen.append([kernel, c_in, c_out, size, list(best)])
        results.add(
            label(product),
            default_us=1e6 * start,
            best_us=1e6 * fastest,
            default=_text(default),
            best=_text(best),
            tried=tried,
        )
        write_table(args, chosen)


def write_table(args: argparse.Namespace, chosen: list[list]) -> None:
    """Write what ``MMHGKD_BLOCKS`` names."""
    cuda = args.device.startswith('cuda')
    table = dict(
        gpu=torch.cuda.get_device_name(args.device) if cuda else 'none',
        capability=torch.cuda.get_device_capability(args.device)
        if cuda
        else (0, 0),
        torch=torch.__version__,
        blocks=chosen,
    )
    Path(args.blocks).write_text(json.dumps(table, indent=1))


def launcher(
    product: Product, stride: int, args: argparse.Namespace
) -> Callable[[], object]:
    """A call of the kernel at the shapes of a student."""
    from mmhgkd.sparse.triton.gather_gemm import gather_gemm
    from mmhgkd.sparse.triton.weight_gradient import weight_gradient

    kernel, c_in, c_out, _ = product
    side = args.image_size
    mask = RandomUnitMask().draw(
        args.batch_sizes[-1], side, side, 0, args.device
    )
    geometry, window = Geometry(mask), Window((3, 3), 1, (1, 1))
    table = geometry.table(stride, window)
    dtype = torch.float16 if args.device == 'cpu' else torch.bfloat16
    rows = torch.randn(len(table), c_in, device=args.device).to(dtype)
    if kernel == 'gather_gemm':
        weight = torch.randn(9, c_in, c_out, device=args.device).to(dtype)
        return lambda: gather_gemm(rows, weight, table)
    grad = torch.randn(len(table), c_out, device=args.device).to(dtype)
    return lambda: weight_gradient(rows, grad, table)


def timed(call: Callable[[], object], args: argparse.Namespace) -> float:
    """Seconds of a call, the best of some rounds, compiled before."""
    call()
    rounds, calls = (1, 1) if args.quick else (3, 10)
    best = float('inf')
    for _ in range(rounds):
        start = common.now(args.device)
        for _ in range(calls):
            call()
        best = min(best, (common.now(args.device) - start) / calls)
    return best


def _text(blocks: Blocks) -> str:
    height, width, depth, warps, stages, extra = blocks
    more = f'+{extra}' if extra else ''
    return f'{height}x{width}{more}x{depth}, {warps} warps, {stages} stages'
