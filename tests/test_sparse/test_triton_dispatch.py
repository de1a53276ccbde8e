import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmhgkd.masks import UnitMask
from mmhgkd.sparse import PackedFeature, TorchPackedFeature
from mmhgkd.sparse.triton import runtime, use_triton, uses_triton

WITHOUT_TRITON = """
import sys
sys.modules['triton'] = None
import torch
from torch import nn
from mmhgkd.masks import UnitMask
from mmhgkd.sparse import PackedFeature
from mmhgkd.sparse.layers import apply_layer
from mmhgkd.sparse.triton import uses_triton
mask = UnitMask(torch.tensor([[0, 3]]), 2, 2, 8)
feature = PackedFeature.from_images(torch.ones(1, 3, 16, 16), mask)
layers = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4))
out = apply_layer(feature, layers).rows()
assert out.shape == (128, 4) and bool(out.isfinite().all())
assert not uses_triton(torch.ones(1, device='meta'))
"""

SWITCHED_OFF = """
from mmhgkd.sparse.triton import runtime
assert not runtime._enabled
"""


def run(*arguments: str, **environment: str) -> None:
    result = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.skipif(
    torch.cuda.is_available(), reason='the GPU runs the kernels themselves'
)
@pytest.mark.parametrize('name', ['conv', 'norm', 'pool'])
def test_kernels_under_the_interpreter(name: str) -> None:
    # Triton reads the variable when it is imported, which another test of
    # this process may have done: the kernels need a process of their own.
    pytest.importorskip('triton', reason='Triton has no wheel for this system')
    file = Path(__file__).with_name(f'test_triton_{name}.py')
    run(
        '-m',
        'pytest',
        '-p',
        'no:cacheprovider',
        '-p',
        'no:xdist',
        str(file),
        TRITON_INTERPRET='1',
        OMP_NUM_THREADS='1',
    )


def test_everything_runs_without_triton() -> None:
    run('-c', WITHOUT_TRITON)


def test_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, '_installed', True)
    monkeypatch.setattr(runtime, '_interpreted', True)
    half, single = torch.ones(1).half(), torch.ones(1)
    assert uses_triton(single, single)
    assert not uses_triton(single.double())
    assert not uses_triton(single, half)
    with use_triton(False):
        assert not uses_triton(single)
        with use_triton(True):
            assert uses_triton(single)
    assert uses_triton(single)
    monkeypatch.setattr(runtime, '_interpreted', False)
    assert not uses_triton(single)


@pytest.mark.parametrize(
    ('major', 'shared', 'fits'),
    [
        (8, 101376, True),
        (12, 101376, True),
        (7, 101376, False),
        (8, 65536, False),
    ],
)
@pytest.mark.parametrize('compiled', [False, True])
def test_pytorch_serves_gpus_that_lack_what_the_kernels_need(
    major: int,
    shared: int,
    fits: bool,
    compiled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = SimpleNamespace(major=major, shared_memory_per_block_optin=shared)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda _: gpu)
    runtime._gpu.cache_clear()

    def scale(x: torch.Tensor) -> torch.Tensor:
        return x * (2 if runtime._fits(x.device) else 3)

    if compiled:
        torch._dynamo.reset()
        scale = torch.compile(scale, backend='eager', fullgraph=True)
    assert scale(torch.ones(())) == (2 if fits else 3)
    runtime._gpu.cache_clear()


def test_backend_without_the_kernels() -> None:
    mask = UnitMask(torch.tensor([[0, 3]]), 2, 2, 8)
    for kind, expected in ((PackedFeature, True), (TorchPackedFeature, False)):
        feature = kind.from_images(torch.ones(1, 3, 16, 16), mask)
        feature = feature.map(torch.abs)
        assert feature.geometry.triton == expected
        assert type(feature) is kind


def test_environment_switches_the_kernels_off() -> None:
    run('-c', SWITCHED_OFF, MMHGKD_TRITON='0')


class Dispatched(TorchDispatchMode):
    """Names of what PyTorch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@runtime.operator(torch.empty_like)
def negated_for_a_test(x: Tensor) -> Tensor:
    return -x


def test_an_operator_is_a_plain_call_where_nothing_compiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called, negation = 'mmhgkd.negated_for_a_test.default', 'aten.neg.default'
    x = torch.ones(2)
    with Dispatched() as seen:
        assert negated_for_a_test(x).sum() == -2
    assert negation in seen.names and called not in seen.names
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
    with Dispatched() as seen:
        negated_for_a_test(x)
    assert seen.names == [called]


class Setting:
    """Precision of convolutions as it was before PyTorch 2.9."""

    def __init__(self, allow_tf32: bool) -> None:
        self.allow_tf32 = allow_tf32


@pytest.mark.parametrize(
    ('tf32', 'expected'), [(True, 'tf32'), (False, 'ieee')]
)
def test_precision_is_that_of_convolutions(
    tf32: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.backends.cudnn.flags(allow_tf32=tf32):
        assert runtime.precision() == expected
    monkeypatch.setattr(torch.backends, 'cudnn', Setting(tf32))
    assert runtime.precision() == expected


PRECISIONS = """
import torch
from mmhgkd.sparse.triton.runtime import precision
backends = torch.backends
assert precision() == 'tf32'
backends.cuda.matmul.fp32_precision = 'ieee'
assert precision() == 'tf32'
backends.cudnn.conv.fp32_precision = 'ieee'
backends.cuda.matmul.fp32_precision = 'tf32'
assert precision() == 'ieee'
backends.cudnn.conv.fp32_precision = 'none'
backends.fp32_precision = 'tf32'
assert precision() == 'tf32'
backends.cudnn.fp32_precision = 'ieee'
assert precision() == 'ieee'
"""


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, 'conv'), reason='PyTorch is older'
)
def test_precision_follows_the_settings_of_each_operation() -> None:
    # They cannot be set back: a later look at the older ones raises.
    run('-c', PRECISIONS)
