"""Compiles the kernels that the students launch, for GPUs that are not here.

The default is one launch of each kernel and block configuration, in float32
of the products only. With ``MMHGKD_ALL_KERNELS=1`` it is every launch of
every student and dtype on every GPU, which takes hours.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.backbones import (
    SparseConvNeXt,
    SparseEfficientNet,
    SparseMobileNetV2,
    SparseMobileNetV3,
    SparseResNet,
)
from mmhgkd.masks import UnitMask
from mmhgkd.sparse.triton.runtime import SHARED_MEMORY

if os.environ.get('TRITON_INTERPRET') == '1':
    pytest.skip('the interpreter compiles nothing', allow_module_level=True)
triton = pytest.importorskip('triton', reason='no wheel for this system')

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

ALL = os.environ.get('MMHGKD_ALL_KERNELS') == '1'
GPUS = (80, 89, 90, 100, 120)
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
OBJDUMP = Path(triton.__file__).parent / 'backends/nvidia/bin/cuobjdump'


class Launch(NamedTuple):
    """What a kernel is compiled for."""

    kernel: Any
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    divisible: tuple[int, ...]
    options: tuple[tuple[str, int], ...]

    @property
    def blocks(self) -> tuple:
        """What decides about registers and shared memory."""
        names = ('HEIGHT', 'WIDTH', 'DEPTH')
        flags = {
            (name, value)
            for name, value in self.constants
            if name in names or isinstance(value, bool)
        }
        return self.kernel.__name__, frozenset(flags)


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
    """Kernels of a training step, without running any."""
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


def students() -> Iterator[nn.Module]:
    yield SparseResNet(50, drop_path_rate=0.05)
    yield SparseMobileNetV3()
    if ALL:
        yield SparseResNet(18)
        yield SparseConvNeXt(drop_path_rate=0.1)
        yield SparseMobileNetV2()
        yield SparseMobileNetV3('large')
        yield SparseEfficientNet()


def chosen(dtype: torch.dtype, tf32: bool) -> list[Launch]:
    everything = [x for net in students() for x in launches(net, dtype, tf32)]
    if ALL:
        return list(dict.fromkeys(everything))
    if dtype == torch.float32:
        everything = [x for x in everything if 'DEPTH' in dict(x.constants)]
    return list({launch.blocks: launch for launch in everything}.values())


def compiled(launch: Launch, gpu: int) -> Any:
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
    """Memory that holds what fits no register."""
    file.write_bytes(binary)
    usage = subprocess.run(
        [OBJDUMP, '-res-usage', file],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sizes = re.findall(r'(?:STACK|LOCAL):(\d+)', usage)
    assert sizes, usage
    return max(map(int, sizes))


@pytest.mark.parametrize(
    ('dtype', 'tf32', 'gpu'),
    [
        (torch.bfloat16, True, 90),
        (torch.float32, True, 80),
        *(
            (dtype, tf32, gpu)
            for gpu in GPUS
            for dtype, tf32 in (
                (torch.bfloat16, True),
                (torch.float16, True),
                (torch.float32, True),
                (torch.float32, False),
            )
            if ALL
        ),
    ],
)
def test_kernels_fit_the_gpu(
    dtype: torch.dtype, tf32: bool, gpu: int, tmp_path: Path
) -> None:
    for launch in chosen(dtype, tf32):
        kernel = compiled(launch, gpu)
        assert kernel.metadata.shared <= SHARED_MEMORY, launch
        name = launch.kernel.__name__
        if dtype != torch.float32:
            binary = kernel.asm['cubin']
            assert stack_bytes(binary, tmp_path / 'cubin') == 0, launch
            if gpu == 90 and name in ('_gather_gemm', '_weight_gradient'):
                assert 'wgmma' in kernel.asm['ptx'], launch
