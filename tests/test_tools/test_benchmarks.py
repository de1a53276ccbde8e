import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet
from PIL import Image
from ranks import run_script
from torch import Tensor

from mmhgkd.backbones import SparseResNet
from mmhgkd.masks import RandomUnitMask

BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
CONFIGS = BENCHMARKS.parents[1] / 'configs'
COMMON = (
    '--batch-size',
    '2',
    '--repeats',
    '1',
    '--threads',
    '1',
    '--device',
    'cpu',
)


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def step_speed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not torch.cuda.is_available():
        # Faster by the imports of every process. Where there is a GPU,
        # PyTorch's backward pass has threads, which forbid it.
        monkeypatch.setattr(
            importlib.import_module('common'), 'START_METHOD', 'fork'
        )
    return importlib.import_module('step_speed')


@pytest.fixture
def step_profile() -> ModuleType:
    return importlib.import_module('step_profile')


def tables(text: str) -> Iterator[dict[str, list[str]]]:
    """Markdown tables: the cells of each line by its first cell."""
    lines = iter([*text.splitlines(), ''])
    for line in lines:
        if line.startswith('|'):
            header, found = cells(line), {}
            assert cells(next(lines))[0] == '---'
            while (line := next(lines)).startswith('|'):
                first, *rest = cells(line)
                assert len(rest) == len(header) - 1
                found[first] = rest
            yield found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip('|').split('|')]


def rounded(cell: str, value: float) -> bool:
    """Whether a cell shows a value to its precision."""
    digits = len(cell.partition('.')[2])
    return float(cell) == float(f'{value:.{digits}f}')


def run(tool: str, *arguments: str) -> str:
    """Run a tool in a process of its own: it starts one for each row."""
    done = run_script(BENCHMARKS / f'{tool}.py', *COMMON, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_step_speed(tmp_path: Path) -> None:
    out = tmp_path / 'out.json'
    rows = ['packed', 'mmpretrain', 'dense']
    arguments = [
        '--depth',
        '18',
        '--image-size',
        '64',
        '--teacher',
        'none',
        '--rows',
        *rows,
        '--json',
        str(out),
    ]
    [table] = tables(run('step_speed', *arguments))
    report = json.loads(out.read_text())
    assert list(report['rows']) == rows
    peer, dense = (
        report['rows'][name]['step_ms'] for name in ('mmpretrain', 'dense')
    )
    for row, numbers in report['rows'].items():
        time = numbers['step_ms']
        assert numbers['images_per_second'] == pytest.approx(2000 / time)
        assert numbers['times_mmpretrain'] == pytest.approx(peer / time)
        assert numbers['times_dense'] == pytest.approx(dense / time)
        assert all(map(rounded, table[row], numbers.values()))
        # Weights, gradients and two moments of 11 million parameters at
        # least, in fp32.
        assert numbers['peak_gib'] > 4 * 4 * 11e6 / 2**30


def test_step_speed_of_one_row() -> None:
    [table] = tables(
        run(
            'step_speed',
            '--depth',
            '18',
            '--image-size',
            '64',
            '--teacher',
            'vit-s',
            '--dtype',
            'bf16',
            '--rows',
            'packed',
        )
    )
    # Without a neighbor there is no ratio.
    [(row, numbers)] = table.items()
    assert row == 'packed' and len(numbers) == 3


def test_step_speed_names_a_bad_size(
    step_speed: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step_speed.main([*COMMON, '--image-size', '50']) == 2
    assert 'multiple of 32' in capsys.readouterr().err


def test_ratio_is_to_the_faster_peer(step_speed: ModuleType) -> None:
    steps = {
        'dense': [4.0, 2.0, 9.0],
        'mmpretrain': [8.0, 8.0, 8.0],
        'mmpretrain channels_last': [6.0, 7.0, 5.0],
        'packed': [3.0, 3.0, 99.0],
    }
    table = step_speed.common.summarize(
        {
            row: [dict(step_ms=time, peak_gib=time) for time in times]
            for row, times in steps.items()
        },
        6,
    )
    assert table['packed'] == dict(
        step_ms=3.0,
        images_per_second=2000.0,
        peak_gib=99.0,
        times_mmpretrain=2.0,
        times_dense=pytest.approx(4 / 3),
    )


def test_recipe_speed(tmp_path: Path) -> None:
    out = tmp_path / 'out.json'
    grid = ['grid decoder', 'grid decoder, two views']
    rows = ['recommended', 'float32', 'one view', *grid, 'mmpretrain']
    size = ['--depth', '18', '--image-size', '64', '--teacher', 'vit-s']
    [table] = tables(
        run('recipe_speed', *size, '--json', str(out), '--rows', *rows)
    )
    found = json.loads(out.read_text())['rows']
    assert list(table) == list(found) == rows
    for row, numbers in found.items():
        time = numbers['step_ms']
        assert numbers['times_mmpretrain'] == pytest.approx(
            found['mmpretrain']['step_ms'] / time
        )
        assert numbers['images_per_second'] == pytest.approx(2000 / time)
        assert all(map(rounded, table[row], numbers.values()))


def test_recipes_are_those_of_the_configs(
    step_speed: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_speed = importlib.import_module('recipe_speed')
    args = recipe_speed.parse_args(['--rows', 'recommended'])
    for row, name in (
        ('recommended', 'r50_mae'),
        ('paper', 'r50_mae_paper'),
    ):
        found = recipe_speed.recipe(row, args)
        shipped = Config.fromfile(CONFIGS / f'hgkd/{name}.py')
        # Weights are random, all stages are there for all rows.
        shipped.model.teacher.update(checkpoint=None, allow_random=True)
        shipped.model.teacher.backbone.update(arch='base')
        shipped.model.backbone.update(
            out_indices=(0, 1, 2, 3), backend='packed'
        )
        shipped.model.compile = False
        for key, value in shipped.model.items():
            if key == 'neck':
                value['in_channels'] = [256, 512, 1024, 2048]
            assert found.model[key] == value, (row, key)
        assert found.optim_wrapper == shipped.optim_wrapper
    with pytest.raises(SystemExit):
        recipe_speed.parse_args(['--batch-size', '3'])
    assert '--batch-size must be even' in capsys.readouterr().err


def test_recipes_are_compared_with_the_faster_form() -> None:
    recipe_speed = importlib.import_module('recipe_speed')
    times = {
        'recommended': 2.0,
        'lightly-train': 5.0,
        'lightly-train channels_last': 4.0,
    }
    table = recipe_speed.summarize(
        {row: [dict(step_ms=x, peak_gib=1.0)] for row, x in times.items()}, 2
    )
    assert [row['times_lightly-train'] for row in table.values()] == [
        2.0,
        0.8,
        1.0,
    ]
    assert 'x lightly' in recipe_speed.render(table)


def test_peer_computes_the_same_features(step_speed: ModuleType) -> None:
    peer = step_speed.PeerBackbone(
        18,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='mmpretrain.SparseBatchNorm2d'),
    ).double()
    ours = SparseResNet(18, backend='masked').double()
    ours.load_state_dict(peer.state_dict())
    peer.train()
    ours.train()
    images = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    mask = RandomUnitMask()(2, 96, 96)
    for a, b in zip(peer(images, mask), ours(images, mask), strict=True):
        assert (a.stride, a.mask) == (b.stride, b.mask)
        assert b.values.abs().max() > 0.1
        torch.testing.assert_close(a.values, b.values, rtol=0, atol=1e-10)
        torch.testing.assert_close(a.rows(), b.rows(), rtol=0, atol=1e-10)


def test_dense_neighbor_keeps_the_order(step_speed: ModuleType) -> None:
    args = step_speed.parse_args(
        [*COMMON, '--depth', '18', '--image-size', '64']
    )
    cfg = step_speed.step_config('dense', args)
    mask = RandomUnitMask(cfg.model.mask.unit, cfg.model.mask.mask_ratio)(
        2, 64, 64
    )
    net = step_speed.DenseBackbone(18, out_indices=(0, 3))
    dense = ResNet(18, out_indices=(0, 3))
    dense.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 64, 64)
    for feature, expected in zip(
        net(images, mask), dense(images), strict=True
    ):
        assert torch.equal(feature.dense(), expected)


def test_several_mask_ratios(tmp_path: Path) -> None:
    out, picture = tmp_path / 'out.json', tmp_path / 'deep' / 'out.png'
    options = '--depth 18 --image-size 64 --mask-ratio 0 0.75'
    options += f' --rows dense masked packed --json {out} --plot {picture}'
    [table] = tables(run('student_speed', *options.split()))
    rows = json.loads(out.read_text())['rows']
    assert [row['mask_ratio'] for row in rows] == [0, 0.75]
    assert [row['visible'] for row in rows] == [1, 0.25]
    for row in rows:
        assert row['ideal_ms'] == pytest.approx(
            row['visible'] * row['dense_ms']
        )
        assert min(row['masked_ms'], row['packed_ms'], row['dense_ms']) > 0
        ratio, *numbers = row.values()
        assert all(map(rounded, table[f'{ratio:g}'], numbers))
    with Image.open(picture) as image:
        assert len(set(image.convert('RGB').getdata())) > 10


def test_step_profile(
    step_speed: ModuleType,
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, picture = tmp_path / 'out.json', tmp_path / 'out.png'
    config = CONFIGS / 'hgkd' / 'r18_scenes_unet.py'
    arguments = ['--rows', 'packed', '--images', '2', '--json', str(out)]
    arguments += ['--plot', str(picture), '--data-root', str(class_folders)]
    arguments += ['--profile', str(config)]
    assert step_speed.main([*COMMON, *arguments]) == 0
    report = json.loads(out.read_text())
    parts = report['parts']
    assert list(parts) == list(step_speed.step_profile.PARTS)
    total = sum(row['ms'] for row in parts.values())
    for row in parts.values():
        assert row['ms'] > 0
        assert row['share'] == pytest.approx(row['ms'] / total)
    assert {'cv2', 'pillow', 'torchvision'} <= set(report['loading'])
    for speeds in report['loading'].values():
        assert all(speed > 0 for speed in speeds.values())
    profile, loading = tables(capsys.readouterr().out)
    for part, (milliseconds, share) in profile.items():
        assert rounded(milliseconds, parts[part]['ms'])
        assert rounded(share.strip('%'), 100 * parts[part]['share'])
    assert set(loading) == set(report['loading'])
    with Image.open(picture) as image:
        assert len(set(image.convert('RGB').getdata())) > 10


def test_profile_wants_a_student(
    step_speed: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIGS / 'mae' / 'vit-tiny.py'
    assert step_speed.main(['--profile', str(config)]) == 2
    assert 'no model of type mmhgkd.HGKD' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('--profile x.py --depth 18', '--depth is in the config of'),
        ('--profile x.py --mask-ratio 0.5', '--mask-ratio is in the config'),
        ('--profile x.py --rows dense', 'takes one of the rows masked'),
        ('--profile x.py --rows masked packed', 'got masked packed'),
        ('--profile x.py --busy', '--busy is not for --profile'),
        ('--busy --device cpu', '--busy looks at a GPU'),
        ('--images 3', '--images belongs to --profile'),
        ('--data-root images', '--data-root belongs to --profile'),
    ],
)
def test_options_that_would_do_nothing(
    step_speed: ModuleType,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    message: str,
) -> None:
    with pytest.raises(SystemExit):
        step_speed.parse_args(arguments.split())
    assert message in capsys.readouterr().err


class Slow(torch.autograd.Function):
    """Moves a clock on, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, clock: list[float], ahead: float, back: float
    ) -> Tensor:
        ctx.clock, ctx.back = clock, back
        clock[0] += ahead
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        ctx.clock[0] += ctx.back
        return gradients[0], None, None, None


def test_stopwatch_finds_the_parts(
    step_profile: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(step_profile.common, 'now', lambda device: clock[0])

    def encode(x: Tensor) -> list[SimpleNamespace]:
        first = Slow.apply(x, clock, 1, 10)
        second = Slow.apply(first, clock, 2, 20)
        return [SimpleNamespace(values=x) for x in (first, second)]

    def decode(features: list[SimpleNamespace]) -> Tensor:
        first, second = (feature.values for feature in features)
        x = Slow.apply(second, clock, 4, 40)
        return x + Slow.apply(first, clock, 8, 80)

    def loss(tokens: Tensor) -> Tensor:
        return Slow.apply(tokens, clock, 16, 160).sum()

    model = SimpleNamespace(encode=encode, decode=decode, loss=loss)
    watch = step_profile.Stopwatch('cpu')
    watch.watch(model, 'encode', 'encoder')
    watch.watch(model, 'decode', 'decoder')
    watch.watch(model, 'loss', 'losses')
    x = torch.ones(3, requires_grad=True)
    model.loss(model.decode(model.encode(x))).backward()
    watch.lap('encoder backward')
    seconds = {part: time / 1e3 for part, time in watch.parts.items() if time}
    assert seconds == {
        'encoder': 3,
        'decoder': 12,
        'losses': 16,
        'losses backward': 160,
        'decoder backward': 120,
        'encoder backward': 30,
    }


def test_pictures_to_load_are_drawn() -> None:
    data_loading = importlib.import_module('data_loading')
    with data_loading.image_folder(None, 2, 48) as folder:
        paths = sorted(Path(folder).iterdir())
        assert len(paths) == 2
        for path in paths:
            with Image.open(path) as image:
                assert (image.format, image.size) == ('JPEG', (48, 48))
    assert not Path(folder).exists()
