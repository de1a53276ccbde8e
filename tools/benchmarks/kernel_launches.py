"""Kernels that the students launch, compiled for a GPU or for none."""

import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import triton
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmhgkd.backbones import (
    SparseConvNeXt,
    SparseEfficientNet,
    SparseMobileNetV2,
    SparseMobileNetV3,
    SparseResNet,
)
from mmhgkd.masks import UnitMask

GPUS = (80, 89, 90, 100, 120)
PRODUCTS = ('_gather_gemm', '_weight_gradient')
TYPES = {
    torch.float32: 'fp32',
    torch.float16: 'fp16',
    torch.bfloat16: 'bf16',
    torch.int32: 'i32',
    torch.int8: 'i8',
}
MODULES = (
    'gather_gemm',
    'max_pool',
    'norm_kernels',
    'row_statistics',
    'stem',
    'weight_gradient',
)
#: Element and whether TF32 may round products, by name.
PRECISIONS = dict(
    bf16=(torch.bfloat16, True),
    fp16=(torch.float16, True),
    fp32=(torch.float32, False),
    tf32=(torch.float32, True),
)
OBJDUMP = Path(triton.__file__).parent / 'backends/nvidia/bin/cuobjdump'


class Launch(NamedTuple):
    """What a kernel is compiled for."""

    kernel: Any
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    divisible: tuple[int, ...]
    options: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """Name of the kernel."""
        return self.kernel.__name__

    @property
    def blocks(self) -> tuple:
        """What decides about registers and shared memory."""
        names = ('HEIGHT', 'WIDTH', 'DEPTH', 'EXTRA')
        flags = {
            (name, value)
            for name, value in self.constants
            if name in names or isinstance(value, bool)
        }
        return self.name, frozenset(flags)


def record(
    kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any
) -> Launch:
    """Specialize a launch as Triton does."""
    options = tuple(
        (name, constants.pop(name))
        for name in ('num_warps', 'num_stages')
        if name in constants
    )
    names = [name for name in kernel.arg_names if name not in constants]
    types, divisible = {}, []
    for name, value in zip(names, args, strict=True):
        if isinstance(value, Tensor):
            types[name] = f'*{TYPES[value.dtype]}'
        elif isinstance(value, float):
            types[name] = 'fp32'
        elif value == 1:
            constants[name] = 1
            continue
        else:
            types[name] = 'i32'
            if value % 16:
                continue
        if types[name] != 'fp32':
            divisible.append(kernel.arg_names.index(name))
    signature = tuple(
        (name, types.get(name, 'constexpr')) for name in kernel.arg_names
    )
    return Launch(
        kernel,
        signature,
        tuple(sorted(constants.items())),
        tuple(divisible),
        options,
    )


def launches(
    network: nn.Module, dtype: torch.dtype, tf32: bool
) -> list[Launch]:
    """Kernels of a training step at 224 px, without running any."""
    found: dict[Launch, None] = {}

    def launch(*args: Any, **constants: Any) -> None:
        found[record(*args, **constants)] = None

    for module in network.modules():
        if not isinstance(module, _BatchNorm):
            module._apply(lambda x: x.to('meta', dtype), recurse=False)
    network.to('meta')
    ids = torch.zeros(64, 20, dtype=torch.int64, device='meta')
    images = torch.zeros(64, 3, 224, 224, dtype=dtype, device='meta')
    with ExitStack() as stack:
        stack.enter_context(
            torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32)
        )
        for name in MODULES:
            stack.enter_context(
                mock.patch(f'mmhgkd.sparse.triton.{name}.launch', launch)
            )
        for name in ('gather_conv', 'packed_feature', 'packed_pool'):
            stack.enter_context(
                mock.patch(
                    f'mmhgkd.sparse.{name}.uses_triton', lambda *_: True
                )
            )
        # Autocast does not know the device.
        stack.enter_context(
            mock.patch(
                'mmhgkd.sparse.packed_feature.autocast_operands',
                lambda *tensors: tensors,
            )
        )
        features = network(images, UnitMask(ids, 7, 7, 32))
        sum(feature.rows().float().sum() for feature in features).backward()
    return list(found)


def students(every: bool) -> Iterator[nn.Module]:
    """The students whose kernels differ, or every student."""
    yield SparseResNet(50, drop_path_rate=0.05)
    yield SparseMobileNetV3()
    # Channels that are no power of two, in convolutions that are dense.
    yield SparseConvNeXt(drop_path_rate=0.1)
    if every:
        yield SparseResNet(18)
        yield SparseMobileNetV2()
        yield SparseMobileNetV3('large')
        yield SparseEfficientNet()


def chosen(
    networks: Iterable[nn.Module],
    dtype: torch.dtype,
    tf32: bool,
    every: bool = False,
) -> list[Launch]:
    """One launch of each block configuration, or every launch.

    In float32 the few are those of the products only.
    """
    found = [x for net in networks for x in launches(net, dtype, tf32)]
    if every:
        return list(dict.fromkeys(found))
    if dtype == torch.float32:
        found = [x for x in found if 'DEPTH' in dict(x.constants)]
    return list({launch.blocks: launch for launch in found}.values())


def block_configurations(precision: str) -> list[Launch]:
    """One launch of each block configuration of all students."""
    dtype, tf32 = PRECISIONS[precision]
    networks = students(every=True)
    found = [x for net in networks for x in launches(net, dtype, tf32)]
    return list({launch.blocks: launch for launch in found}.values())


def with_blocks(launch: Launch, blocks: dict[str, int]) -> Launch:
    """The same launch in other blocks, see ``Blocks.options``."""
    options = {**dict(launch.constants), **blocks}
    return launch._replace(
        constants=tuple(
            (name, value)
            for name, value in sorted(options.items())
            if not name.startswith('num_')
        ),
        options=tuple(
            (name, value)
            for name, value in options.items()
            if name.startswith('num_')
        ),
    )


def compiled(launch: Launch, gpu: int) -> Any:
    """Compile for a compute capability, such as 90."""
    source = ASTSource(
        launch.kernel,
        dict(launch.signature),
        dict(launch.constants),
        {(index,): [['tt.divisibility', 16]] for index in launch.divisible},
    )
    return triton.compile(
        source, GPUTarget('cuda', gpu, 32), dict(launch.options)
    )


def stack_bytes(binary: bytes, file: Path) -> int:
    """Memory that holds what fits no register.

    The file is written for the tool that looks into it.
    """
    file.write_bytes(binary)
    usage = subprocess.run(
        [OBJDUMP, '-res-usage', file],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sizes = re.findall(r'(?:STACK|LOCAL):(\d+)', usage)
    if not sizes:
        raise RuntimeError(f'cuobjdump says nothing of the stack: {usage}')
    return max(map(int, sizes))
