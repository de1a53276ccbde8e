"""Compiles the kernels that the students launch, for GPUs that are not here.

The default is one launch of each kernel and block configuration, in float32
of the products only. ``.ci/run kernels`` compiles them for all GPUs, and
``MMHGKD_ALL_KERNELS=1`` every launch of every student, which takes hours.
"""

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.sparse.triton.tuning import Blocks

if os.environ.get('TRITON_INTERPRET') == '1':
    pytest.skip('the interpreter compiles nothing', allow_module_level=True)
pytest.importorskip('triton', reason='no wheel for this system')

ALL = os.environ.get('MMHGKD_ALL_KERNELS') == '1'
BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
GPUS = (80, 89, 90, 100, 120)
KIB = 1024
# Shared memory that a program may have, by compute capability.
LIMITS = {80: 163 * KIB, 89: 99 * KIB, 90: 227 * KIB}


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module('kernel_launches')


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
    dtype: torch.dtype, tf32: bool, gpu: int, kernels: ModuleType
) -> None:
    checks = importlib.import_module('kernel_checks')
    [precision] = [
        x for x, y in kernels.PRECISIONS.items() if y == (dtype, tf32)
    ]
    found = kernels.chosen(kernels.students(ALL), dtype, tf32, ALL)
    # One of the students has products of 96 and 192 channels.
    extra = {dict(launch.constants).get('EXTRA', 0) for launch in found}
    assert extra == ({0, 32, 64} if dtype != torch.float32 else {0, 32})
    for launch in found:
        code = checks.inspect(launch, gpu)
        for fault in checks.faults(launch, precision, gpu, code):
            assert checks.is_known(fault, launch, precision, gpu), (
                launch,
                fault,
            )


def test_a_block_with_drop_path_needs_one_norm_for_its_end(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, record = [], kernels.record

    def count(*args: Any, **constants: Any) -> Any:
        found.append(record(*args, **constants))
        return found[-1]

    monkeypatch.setattr(kernels, 'record', count)
    network = kernels.SparseResNet(18, drop_path_rate=0.05)
    kernels.launches(network, torch.bfloat16, True)
    norms = sum(isinstance(x, _BatchNorm) for x in network.modules())
    for name, added in (
        ('_apply_norm', 'HAS_RESIDUAL'),
        ('_norm_gradient', 'RESIDUAL'),
    ):
        launched = [dict(x.constants) for x in found if x.name == name]
        assert len(launched) == norms
        # All of the eight blocks but the first drop images.
        dropping = [x for x in launched if x['HAS_FACTOR']]
        assert len(dropping) == 7
        assert all(x['RELU'] and x[added] for x in dropping)


@pytest.mark.parametrize(
    ('gpu', 'depth'), [(80, 64), (90, 64), (80, 32), (89, 32)]
)
def test_wide_tiles_fit_the_gpu(
    gpu: int, depth: int, kernels: ModuleType, tmp_path: Path
) -> None:
    network = kernels.SparseResNet(50)
    launch = next(
        x
        for x in kernels.launches(network, torch.bfloat16, True)
        if x.name == '_gather_gemm' and dict(x.constants)['C_OUT'] == 512
    )
    wide = kernels.with_blocks(launch, Blocks(128, 256, depth, 8, 5).options())
    kernel = kernels.compiled(wide, gpu)
    assert kernel.metadata.shared <= LIMITS[gpu]
    binary = kernel.asm['cubin']
    assert kernels.stack_bytes(binary, tmp_path / 'cubin') == 0
    if gpu == 90:
        assert 'n256' in kernel.asm['ptx']
