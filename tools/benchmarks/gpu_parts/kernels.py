"""Every kernel against sums in float64, at real and at odd shapes."""

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor

from .kernel_cases import Case, convolutions, norms, pools
from .results import Results

TITLE = 'Kernels against float64'
SECONDS = 50
KERNELS = (
    'gather_gemm',
    'weight_gradient',
    'gather_depthwise',
    'depthwise_weight_gradient',
    'stem',
    'stem_weight_gradient',
    'max_pool',
    'max_pool_gradient',
    'row_statistics',
    'apply_norm',
    'norm_gradient_sums',
    'norm_gradient',
)
#: Largest error that rounding explains, relative to the norm of the result.
TOLERANCES = dict(bf16=8e-3, fp16=1e-3, fp32=5e-6, tf32=2e-3)
#: The same where half precision comes in and float32 goes out.
SUMS = 2e-5
DTYPES = dict(
    bf16=torch.bfloat16,
    fp16=torch.float16,
    fp32=torch.float32,
    tf32=torch.float32,
)
COLUMNS = {
    **{name: (f'error in {name}', '.1e') for name in DTYPES},
    'launches': ('launches', 'd'),
    'repeats': ('repeats bit for bit', ''),
}


def cases(args: argparse.Namespace) -> list[str]:
    """A row a kernel."""
    return list(KERNELS)


def run(args: argparse.Namespace, results: Results) -> None:
    """Compare all kernels in all precisions."""
    from mmhgkd.sparse.triton import uses_triton

    if not uses_triton(torch.ones(1, device=args.device)):
        raise RuntimeError(
            'the kernels do not run here: they need Triton and a GPU since '
            'Ampere, or Triton with TRITON_INTERPRET=1'
        )
    interpreted = not args.device.startswith('cuda')
    for precision, dtype in DTYPES.items():
        # The interpreter rounds no float32 to tf32, and multiplies the bits
        # of bfloat16 as whole numbers.
        if interpreted and precision in ('tf32', 'bf16'):
            continue
        flags = torch.backends.cudnn.flags(
            enabled=True, allow_tf32=precision == 'tf32'
        )
        with flags, torch.no_grad():
            for case in _all(args, dtype):
                compare(case, precision, results)


def compare(case: Case, precision: str, results: Results) -> None:
    """Run a kernel twice, and its reference."""
    first, second = case.kernel(), case.kernel()
    same = all(map(torch.equal, first, second))
    worst = results.rows.get(case.name, {}).get(precision, 0.0)
    for x, y in zip(first, case.reference(), strict=True):
        limit = TOLERANCES[precision]
        if case.name == 'max_pool':
            limit = 0.0
        elif x.dtype == torch.float32 and precision in ('bf16', 'fp16'):
            limit = SUMS
        error = relative_error(x, y)
        # Neither this one nor an earlier one that is NaN must get lost.
        worst = error if not error <= worst else worst
        results.check(
            case.name,
            error <= limit,
            f'error {error:.1e} in {precision} at {case.shape}',
        )
    row = results.rows.get(case.name, {})
    results.add(
        case.name,
        launches=row.get('launches', 0) + 1,
        repeats='yes' if same and row.get('repeats') != 'no' else 'no',
        **{precision: worst},
    )
    results.check(
        case.name, same, f'other bits in {precision} at {case.shape}'
    )


def relative_error(x: Tensor, y: Tensor) -> float:
    """Norm of the difference, relative to that of the reference."""
    if x.shape != y.shape:
        return float('inf')
    difference = (x.double() - y.double()).norm()
    return float(difference / y.double().norm().clamp(min=1e-12))


def _all(args: argparse.Namespace, dtype: torch.dtype) -> Iterator[Case]:
    if args.quick:
        sizes = [(2, 32, 8), (1, 64, 11)]
    else:
        # Channels of the first stage; the second is odd in all respects.
        sizes = [(args.batch_sizes[0], args.image_size, 64), (3, 96, 23)]
    for batch, side, channels in sizes:
        for kind in (convolutions, pools, norms):
            yield from kind(batch, side, channels, dtype, args.device)
