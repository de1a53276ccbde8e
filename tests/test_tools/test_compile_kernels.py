"""The tool that compiles the kernels for GPUs that are not here."""

import importlib
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

if os.environ.get('TRITON_INTERPRET') == '1':
    pytest.skip('the interpreter compiles nothing', allow_module_level=True)
pytest.importorskip('triton', reason='no wheel for this system')

BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
FINE = dict(shared=1024, spilled=0, wgmma=True, copies=(16,), loads=0)
ONE = ('--gpus', '90', '--precisions', 'bf16', '--workers', '1')


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, for students that launch one product."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module('compile_kernels')
    launch = product(monkeypatch)
    monkeypatch.setattr(module, 'block_configurations', lambda _: [launch])
    return module


def product(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The launch of a small product."""
    record = importlib.import_module('kernel_launches').record
    module = importlib.import_module('mmhgkd.sparse.triton.gather_gemm')
    found: list[Any] = []
    monkeypatch.setattr(
        module, 'launch', lambda *args, **kw: found.append(record(*args, **kw))
    )
    rows, weight, table = (
        torch.empty(shape, dtype=dtype, device='meta')
        for shape, dtype in (
            ((64, 32), torch.bfloat16),
            ((3, 32, 16), torch.bfloat16),
            ((48, 3), torch.int32),
        )
    )
    module.gather_gemm(rows, weight, table)
    return found[0]


def test_compiles(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main([*ONE]) == 0
    line = capsys.readouterr().out.splitlines()[2]
    gpu, precision, number, shared, spilled, known, unknown = (
        cell.strip() for cell in line.strip('|').split('|')
    )
    assert (gpu, precision, number) == ('90', 'bf16', '1')
    assert int(shared) > 0
    assert (spilled, known, unknown) == ('0', '0', '0')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(shared=100 * 1024), 'shared memory'),
        (dict(spilled=4), 'no register'),
        (dict(wgmma=False), 'instructions of Hopper'),
        (dict(loads=1), 'waits for an operand'),
        (dict(copies=(4,)), 'by 16 bytes'),
        (None, 'does not compile: RuntimeError'),
    ],
)
def test_an_unknown_fault_ends_it_with_an_error(
    changes: dict[str, Any] | None,
    words: str,
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def inspect(launch: Any, gpu: int) -> Any:
        if changes is None:
            raise RuntimeError('PassManager::run failed')
        return tool.checks.Code(**{**FINE, **changes})

    monkeypatch.setattr(tool.checks, 'inspect', inspect)
    assert tool.main([*ONE]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert line.startswith('_gather_gemm(') and 'in bf16 on 90' in line


def test_a_known_fault_is_counted(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = tool.checks.Code(**{**FINE, 'loads': 1})
    known = tool.checks.Known(tool.checks.SYNCHRONOUS, ('_gather_gemm',))
    monkeypatch.setattr(tool.checks, 'inspect', lambda *_: code)
    monkeypatch.setattr(tool.checks, 'KNOWN', (known,))
    assert tool.main([*ONE]) == 0
    assert capsys.readouterr().out.splitlines()[2].endswith('| 1 | 0 |')


@pytest.mark.parametrize(
    ('precision', 'kernel', 'limit'),
    [
        ('fp32', '_gather_gemm', 64),
        ('bf16', '_gather_gemm', 0),
        ('bf16', '_norm_gradient', 16),
    ],
)
def test_a_little_may_spill(
    precision: str, kernel: str, limit: int, tool: ModuleType
) -> None:
    launch = tool.block_configurations(precision)[0]._replace(
        kernel=SimpleNamespace(__name__=kernel)
    )
    for more, expected in ((0, []), (1, [tool.checks.SPILLS])):
        code = tool.checks.Code(**{**FINE, 'spilled': limit + more})
        assert tool.checks.faults(launch, precision, 80, code) == expected
