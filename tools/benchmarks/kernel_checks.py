"""What a compiled kernel has to be like, and what is known to be missing."""

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from kernel_launches import (
    GPUS,
    PRECISIONS,
    PRODUCTS,
    Launch,
    compiled,
    stack_bytes,
)

from mmhgkd.sparse.triton.runtime import SHARED_MEMORY

STEMS = ('_stem', '_stem_weight_gradient')
HALF = ('bf16', 'fp16')
#: What can be wrong with a kernel.
SHARED = 'needs more shared memory than a program may have'
SPILLS = 'keeps in memory what fits no register'
NO_WGMMA = 'multiplies without the instructions of Hopper'
SYNCHRONOUS = 'waits for an operand in each step of its loop'
NARROW = 'copies no operand by 16 bytes'
#: Those that forbid a kernel or make it slow by itself.
SERIOUS = (SHARED, SPILLS, NO_WGMMA)
#: Bytes that a thread may spill: a register or some. Products in half
#: precision, whose loops would wait for them, none.
SPILLED_OF_FLOAT32, SPILLED_OF_HALF = 64, 16


class Known(NamedTuple):
    """A fault that is known.

    Args:
        fault (str): Which one.
        kernels (tuple[str, ...]): Kernels that have it.
        precisions (tuple[str, ...]): The same in these precisions.
        gpus (tuple[int, ...]): And on these compute capabilities.
    """

    fault: str
    kernels: tuple[str, ...]
    precisions: tuple[str, ...] = tuple(PRECISIONS)
    gpus: tuple[int, ...] = GPUS


#: Said in `docs/speed.md`, too. They cost time and change no result.
KNOWN = (
    Known(SPILLS, ('_stem_weight_gradient',), ('fp32',), (80,)),
    # The gathered rows, which Triton transposes in registers.
    Known(SYNCHRONOUS, ('_weight_gradient',), HALF),
    # The instructions of Hopper want TF32 in the other order.
    Known(NARROW, ('_weight_gradient',), ('tf32',), (90, 100)),
    # An image has three channels, and every element has a place of its own.
    Known(SYNCHRONOUS, STEMS),
    Known(NARROW, STEMS),
)


class Code(NamedTuple):
    """What a kernel has become for a GPU.

    Args:
        shared (int): Bytes of shared memory of a program.
        spilled (int): Bytes of a thread that fit no register.
        wgmma (bool): Whether it has the matrix instructions of Hopper.
        copies (tuple[int, ...]): Bytes of its asynchronous copies.
        loads (int): Loads of a step of its loop that are not asynchronous.
    """

    shared: int
    spilled: int
    wgmma: bool
    copies: tuple[int, ...]
    loads: int


def inspect(launch: Launch, gpu: int) -> Code:
    """Compile a launch for a compute capability, and look at the code."""
    kernel = compiled(launch, gpu)
    with tempfile.TemporaryDirectory() as folder:
        spilled = stack_bytes(kernel.asm['cubin'], Path(folder) / 'cubin')
    ptx = kernel.asm['ptx']
    sizes = re.findall(
        r'cp\.async\.c[ag]\.shared\.global[^,]*,[^,]*, (\w+)', ptx
    )
    loop = kernel.asm['ttgir'].partition('scf.for')[2]
    return Code(
        kernel.metadata.shared,
        spilled,
        'wgmma' in ptx,
        tuple(sorted({int(size, 0) for size in sizes})),
        len(re.findall(r'= tt\.load', loop)),
    )


def faults(launch: Launch, precision: str, gpu: int, code: Code) -> list[str]:
    """What is wrong with a kernel, be it known or not."""
    half = precision in HALF
    product = launch.name in PRODUCTS
    spilled = SPILLED_OF_HALF if half else SPILLED_OF_FLOAT32
    if half and product:
        spilled = 0
    wrong = {
        SHARED: code.shared > SHARED_MEMORY,
        SPILLS: code.spilled > spilled,
        NO_WGMMA: gpu == 90 and half and product and not code.wgmma,
    }
    if product or launch.name in STEMS:
        wrong[SYNCHRONOUS] = code.loads > 0
        wrong[NARROW] = 16 not in code.copies
    return [fault for fault, is_so in wrong.items() if is_so]


def is_known(fault: str, launch: Launch, precision: str, gpu: int) -> bool:
    """Whether a fault is listed."""
    return any(
        fault == known.fault
        and launch.name in known.kernels
        and precision in known.precisions
        and gpu in known.gpus
        for known in KNOWN
    )
