import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmhgkd.sparse.triton import switch, use_triton, uses_triton

WITHOUT_TRITON = """
import sys
sys.modules['triton'] = None
import torch
from torch import nn
from mmhgkd.masks import UnitMask
from mmhgkd.sparse import PackedFeature
from mmhgkd.sparse.triton import uses_triton
mask = UnitMask(torch.tensor([[0, 3]]), 2, 2, 8)
feature = PackedFeature.from_images(torch.ones(1, 3, 16, 16), mask)
out = feature.apply(nn.Conv2d(3, 4, 3, 1, 1)).apply(nn.BatchNorm2d(4)).rows()
assert out.shape == (128, 4) and bool(out.isfinite().all())
assert not uses_triton(torch.ones(1, device='meta'))
"""


def run(*arguments: str, **environment: str) -> None:
    result = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize('name', ['conv', 'norm'])
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
    monkeypatch.setattr(switch, '_installed', True)
    monkeypatch.setattr(switch, '_interpreted', True)
    half, single = torch.ones(1).half(), torch.ones(1)
    assert uses_triton(single, single)
    assert not uses_triton(single.double())
    assert not uses_triton(single, half)
    with use_triton(False):
        assert not uses_triton(single)
        with use_triton(True):
            assert uses_triton(single)
    assert uses_triton(single)
    monkeypatch.setattr(switch, '_interpreted', False)
    assert not uses_triton(single)
