import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from ranks import run_script
from torch import Tensor

from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse.rows import dense_to_rows

FILE = Path(__file__).parents[2] / 'tools' / 'benchmarks' / 'student_speed.py'
TINY = '--depth 18 --batch-size 2 --image-size 64 --threads 1 --device cpu'


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FILE.parent)
    return importlib.import_module('student_speed')


def test_sparse_rows_compute_the_same(tool: ModuleType) -> None:
    args = tool.parse_args(TINY.split())
    assert args.rows == ['dense', *tool.PEERS, 'masked', 'packed']
    mask = RandomUnitMask()(2, 64, 64)
    results = {}
    for row in ('masked', 'packed', *tool.PEERS):
        net, forward = tool.build_network(row, args)
        features = forward(0.6)
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


@pytest.mark.parametrize(
    'student',
    ['resnet', 'convnext', 'mobilenet_v2', 'mobilenet_v3', 'efficientnet'],
)
def test_dense_row_is_the_dense_network(
    tool: ModuleType, student: str
) -> None:
    # A mask that hides nothing: the maps are the same in another order.
    args = tool.parse_args(
        [*TINY.split(), '--mask-ratio', '0', '--student', student]
    )
    if student != 'resnet':
        assert args.rows == ['dense', 'masked', 'packed']
    mask = RandomUnitMask(mask_ratio=0)(2, 64, 64)
    dense, forward = tool.build_network('dense', args)
    packed, sparse_forward = tool.build_network('packed', args)
    packed.load_state_dict(dense.state_dict(), strict=True)
    for net in (dense, packed):
        net.eval()
    with torch.no_grad():
        for x, y in zip(sparse_forward(0), forward(0), strict=True):
            expected = dense_to_rows(y, mask, 64 // y.size(2))
            assert (x - expected).norm() < 1e-3 * expected.norm()


def test_rows_that_cannot_run_are_refused(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, reason in (
        ('--rows spconv', "'mmhgkd[spconv]'"),
        ('--rows spconv --student convnext', 'no depthwise convolutions'),
        (
            '--rows packed mmpretrain --student convnext',
            "'mmpretrain' has a sparse ResNet only",
        ),
    ):
        with pytest.raises(SystemExit):
            tool.parse_args([*TINY.split(), *arguments.split()])
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ('dtype', 'expected'),
    [
        ('fp32', torch.float32),
        ('bf16', torch.bfloat16),
        ('fp16', torch.float16),
    ],
)
def test_step(tool: ModuleType, dtype: str, expected: torch.dtype) -> None:
    args = tool.parse_args([*TINY.split(), '--dtype', dtype])
    net, forward = tool.build_network('packed', args)
    seen: set[torch.dtype] = set()

    def record(ratio: float) -> list[Tensor]:
        features = forward(ratio)
        seen.update(x.dtype for x in features)
        return features

    numbers = tool.step(net, record, 0.6, args)
    assert 0 < numbers['forward_ms'] < numbers['step_ms']
    assert seen == {expected}
    assert all(x.grad is not None for x in net.parameters())


def test_summary(tool: ModuleType) -> None:

    def steps(*numbers: tuple[float, float, float]) -> list[dict]:
        names = ('forward_ms', 'step_ms', 'peak_gib')
        return [dict(zip(names, step, strict=True)) for step in numbers]

    table = tool.common.summarize(
        {
            'dense': steps((1, 40, 1), (2, 60, 2), (9, 50, 1)),
            'mmpretrain': steps((1, 100, 0)),
            'mmpretrain channels_last': steps((1, 80, 0)),
            'packed': steps((5, 20, 0)),
        },
        batch_size=16,
    )
    assert table['dense'] == dict(
        forward_ms=2,
        step_ms=50,
        images_per_second=320,
        peak_gib=2,
        times_dense=1,
        times_mmpretrain=80 / 50,
    )
    # The faster of the peer's memory formats counts.
    assert table['packed']['times_mmpretrain'] == 4
    assert table['packed']['times_dense'] == 2.5
    last = tool.common.render(table).splitlines()[-1]
    assert last == '| packed | 5 | 20 | 800.0 | 0.00 | 2.50 | 4.00 |'
    alone = tool.common.summarize({'packed': steps((5, 20, 0))}, 16)
    assert 'x dense' not in tool.common.render(alone)


def test_run_in_processes(tmp_path: Path) -> None:
    out = tmp_path / 'speed.json'
    arguments = f'{TINY} --rows packed --repeats 1 --json {out}'.split()
    result = run_script(FILE, *arguments)
    assert result.returncode == 0, result.stderr
    report = json.loads(out.read_text())
    numbers = report['rows']['packed']
    assert numbers['step_ms'] > numbers['forward_ms'] > 0
    assert report['options']['image_size'] == 64
    assert '| packed |' in result.stdout


def test_busy_share_is_for_one_mask_ratio(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tool.parse_args(['--busy', '--mask-ratio', '0', '0.5'])
    assert 'for one mask ratio' in capsys.readouterr().err


def test_picture_needs_several_mask_ratios(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tool.parse_args([*TINY.split(), '--plot', 'out.png'])
    assert 'several mask ratios' in capsys.readouterr().err
