"""From a distillation checkpoint to a trained classifier, on scenes."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmhgkd.apis.configs import config_folder, load_config
from mmhgkd.backbones import SparseResNet
from mmhgkd.datasets import ImageFolder
from mmhgkd.datasets.scenes import write_scenes

TOOLS = Path(__file__).parents[2] / 'tools'
NARROW = [
    'model.backbone.stem_channels=8',
    'model.backbone.base_channels=8',
    'model.head.in_channels=64',
]


def run(tool: str, *argv: str) -> int:
    spec = importlib.util.spec_from_file_location(
        f'{tool}_of_transfer', TOOLS / f'{tool}.py'
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(argv)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    yield tmp_path
    for registry in (DefaultScope, MessageHub, MMLogger, Visualizer):
        registry._instance_dict.clear()


@pytest.fixture(scope='module')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(
        tmp_path_factory.mktemp('cls') / 'scenes', 'cls', 20, 10, 32
    )


@pytest.fixture(scope='module')
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a distillation leaves: the student among other weights."""
    torch.manual_seed(0)
    network = SparseResNet(18, stem_channels=8, base_channels=8)
    state = {f'backbone.{k}': v for k, v in network.state_dict().items()}
    state['neck.to_tokens.bias'] = torch.zeros(3)
    path = tmp_path_factory.mktemp('student') / 'epoch_1.pth'
    torch.save(dict(state_dict=state, meta=dict(epoch=1)), path)
    return path


def options(scenes: Path) -> list[str]:
    loaders = [
        f'{split}_dataloader.num_workers=0' for split in ('train', 'val')
    ]
    return [
        f'data_root={scenes}',
        *loaders,
        'train_cfg.max_epochs=1',
        'param_scheduler.0.end=1',
        'train_dataloader.batch_size=10',
    ]


@pytest.mark.parametrize('kind', ['finetune', 'linear'])
def test_trains_and_tests(kind: str, scenes: Path, student: Path) -> None:
    config = str(config_folder() / 'classification' / f'r18_{kind}_folder.py')
    argv = [*options(scenes), *NARROW, f'student_checkpoint={student}']
    if kind == 'linear':
        argv.append('model.neck.1.input_features=64')
    assert (
        run('train', config, '--work-dir', 'run', '--cfg-options', *argv) == 0
    )
    trained = torch.load('run/epoch_1.pth', weights_only=False)['state_dict']
    before = torch.load(student)['state_dict']
    same = [
        torch.equal(trained[key], value)
        for key, value in before.items()
        if key.startswith('backbone.') and 'tracked' not in key
    ]
    assert all(same) if kind == 'linear' else not any(same)

    argv = [*options(scenes)[:1], *NARROW, 'test_dataloader.num_workers=0']
    if kind == 'linear':
        argv.append('model.neck.1.input_features=64')
    assert (
        run(
            'test',
            config,
            'run/epoch_1.pth',
            '--work-dir',
            'test',
            '--out',
            'out.json',
            '--out-item',
            'metrics',
            '--cfg-options',
            f'student_checkpoint={student}',
            *argv,
        )
        == 0
    )
    metrics = json.loads(Path('out.json').read_text())
    assert 0 <= metrics['accuracy/top1'] <= 100


def test_knn_of_a_student(scenes: Path, student: Path) -> None:
    config = str(config_folder() / 'classification' / 'r18_knn_folder.py')
    assert (
        run(
            'test',
            config,
            str(student),
            '--out',
            'out.json',
            '--out-item',
            'metrics',
            '--cfg-options',
            f'data_root={scenes}',
            'test_dataloader.num_workers=0',
            *NARROW[:2],
        )
        == 0
    )
    metrics = json.loads(Path('out.json').read_text())
    assert {'knn/top1', 'linear/top1'} <= set(metrics)


def test_another_student_ends_in_one_line(
    scenes: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(config_folder() / 'classification' / 'r18_finetune_folder.py')
    assert (
        run(
            'train',
            config,
            '--work-dir',
            'run',
            '--cfg-options',
            f'student_checkpoint={student}',
            'model.backbone.depth=34',
            *options(scenes),
            *NARROW,
        )
        == 2
    )
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f'error: {student}: fits 100 of 180 weights')
    assert not list(Path('run').glob('*.pth'))


@pytest.mark.parametrize(('share', 'count'), [('1pct', 1), ('10pct', 3)])
def test_share_of_the_labels(share: str, count: int, tmp_path: Path) -> None:
    """The same images at every start, as many of every class."""
    for name in 'ab':
        (tmp_path / 'train' / name).mkdir(parents=True)
        for index in range(30):
            (tmp_path / 'train' / name / f'{index:02}.jpg').touch()
    dataset = load_config(
        f'classification/r50_finetune_{share}'
    ).train_dataloader.dataset
    chosen = []
    for _ in range(2):
        images = ImageFolder(
            str(tmp_path),
            'train',
            with_label=True,
            label_fraction=dataset.label_fraction,
        )
        labels = images.get_gt_labels().tolist()
        assert labels == [0] * count + [1] * count
        chosen.append([info['img_path'] for info in images])
    assert chosen[0] == chosen[1]
