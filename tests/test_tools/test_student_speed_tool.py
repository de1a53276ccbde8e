import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse.sparse_feature import dense_to_rows

FILE = Path(__file__).parents[2] / 'tools' / 'benchmarks' / 'student_speed.py'
TINY = '--depth 18 --batch-size 2 --image-size 64 --threads 1 --device cpu'


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sparse_rows_compute_the_same(tool: ModuleType) -> None:
    args = tool.parse_args(TINY.split())
    assert {'masked', 'packed', 'dense', *tool.PEERS} <= set(args.rows)
    mask = RandomUnitMask()(2, 64, 64)
    results = {}
    for row in ('masked', 'packed', *tool.PEERS):
        net, forward = tool.build(row, args)
        features = forward()
        if row in tool.PEERS:
            features = [
                dense_to_rows(x, mask, 4 * 2**stage)
                for stage, x in enumerate(features)
            ]
        results[row] = features
        assert net.training
    for features in results.values():
        for x, y in zip(features, results['masked'], strict=True):
            assert (x - y).norm() < 1e-3 * y.norm()


@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_step(tool: ModuleType, dtype: str) -> None:
    args = tool.parse_args([*TINY.split(), '--dtype', dtype])
    net, forward = tool.build('packed', args)
    seen: set[torch.dtype] = set()

    def record() -> list[Tensor]:
        features = forward()
        seen.update(x.dtype for x in features)
        return features

    forward_ms, both_ms = tool.step(net, record, args)
    assert 0 < forward_ms < both_ms
    assert seen == {torch.bfloat16 if dtype == 'bf16' else torch.float32}
    assert all(x.grad is not None for x in net.parameters())


def test_summary(tool: ModuleType) -> None:
    gib = 2**30
    table = tool.summarise(
        {
            'dense': [(1, 40, gib), (2, 60, 2 * gib), (9, 50, gib)],
            'mmpretrain': [(1, 100, 0)] * 3,
            'mmpretrain channels_last': [(1, 80, 0)] * 3,
            'packed': [(5, 20, 0)] * 3,
        },
        batch_size=16)
    assert table['dense'] == dict(
        forward_ms=2,
        step_ms=50,
        images_per_second=320,
        peak_gib=2,
        times_dense=1,
        times_mmpretrain=80 / 50)
    # The faster of the peer's memory formats counts.
    assert table['packed']['times_mmpretrain'] == 4
    assert table['packed']['times_dense'] == 2.5
    last = tool.render(table).splitlines()[-1]
    assert last == '| packed | 5 | 20 | 800.0 | 0.00 | 2.50 | 4.00 |'
    alone = tool.summarise({'packed': [(5, 20, 0)]}, 16)
    assert 'x dense' not in tool.render(alone)


def test_run_in_processes(tmp_path: Path) -> None:
    out = tmp_path / 'speed.json'
    arguments = f'{TINY} --rows packed --repeats 1 --json {out}'.split()
    result = subprocess.run([sys.executable, str(FILE), *arguments],
                            capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    report = json.loads(out.read_text())
    numbers = report['rows']['packed']
    assert numbers['step_ms'] > numbers['forward_ms'] > 0
    assert report['options']['image_size'] == 64
    assert '| packed |' in result.stdout
