import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmhgkd.apis import Distillation, distill, load_student
from mmhgkd.apis.distillation import Judge, Plan, make_twin
from mmhgkd.apis.distillation.duration import guess_duration
from mmhgkd.apis.distillation.student import backbone_of, stages
from mmhgkd.apis.distillation.training import train_aside
from mmhgkd.catalog import Photos, find_photos
from mmhgkd.hooks import PanelHook
from mmhgkd.utils import ConfigError

NARROW = {
    'model.backbone.base_channels': 8,
    'model.backbone.stem_channels': 8,
}


@pytest.fixture(scope='module')
def photos(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of six photos."""
    root = tmp_path_factory.mktemp('labeled')
    for index, path in enumerate(sorted((scenes / 'train').rglob('*.png'))):
        folder = root / 'ab'[index % 2]
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder / f'{index}.png')
    return root


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take a good part of the time; others look at them."""
    module = __import__('sys').modules[distill.__module__]
    for name in ('save_panel', 'save_neighbors', 'save_epochs'):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(PanelHook, '_draw', lambda *_: None)


@pytest.mark.usefixtures('without_pictures')
def test_twins_are_added_to_what_is_there(
    photos: Path, tmp_path: Path
) -> None:
    """Nothing is trained twice, and the rows have their order."""
    said: list[str] = []
    settings = dict(
        images=photos,
        out=tmp_path / 'out',
        workers=0,
        options=NARROW,
        export=False,
        say=said.append,
    )
    first = distill(
        student='resnet18',
        teacher='shipped',
        epochs=1,
        batch_size=4,
        compare='pixels',
        **settings,
    )
    assert list(first.metrics) == [
        'chance',
        'untrained',
        'pixels',
        'distilled',
        'teacher',
    ]
    (line,) = (text for text in said if text.startswith('compare '))
    assert 'on pixels (SparK), about' in line and ' more' in line
    written = first.checkpoint.stat().st_mtime_ns
    second = distill(compare='supervised', resume=True, **settings)
    assert first.checkpoint.stat().st_mtime_ns == written
    assert list(second.metrics) == [*first.metrics, 'supervised']
    for name, row in first.metrics.items():
        assert second.metrics[name] == row
    # Those that are classified in the end teach nothing.
    folder = tmp_path / 'out'
    listed = (folder / 'supervised' / 'photos.txt').read_text().splitlines()
    assert len(listed) == 9
    for text in listed:
        file, label = text.rsplit(' ', 1)
        assert Path(file).parent.name == 'ab'[int(label)]
    judge_of_all = Judge(
        Config.fromfile(next(folder.glob('*/vis_data/config.py'))),
        find_photos(photos),
        'cpu',
    )
    known = {text.rsplit(' ', 1)[0] for text in listed}
    assert not known & judge_of_all.queries
    assert known | judge_of_all.queries == set(find_photos(photos).files)
    # The same network with other weights.
    states = [
        load_student(path).backbone.state_dict()
        for path in (
            second.checkpoint,
            folder / 'pixels' / 'student.pth',
            folder / 'supervised' / 'student.pth',
        )
    ]
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert not torch.equal(
            state['conv1.weight'], states[0]['conv1.weight']
        )
    assert not list(folder.rglob('epoch_*.pth'))
    said.clear()
    assert distill(resume=True, **settings) == second
    assert 'finished already' in said[0]


@pytest.fixture
def config(result: Distillation) -> Config:
    return Config.fromfile(next(result.folder.glob('*/vis_data/config.py')))


def test_as_long_as_the_distillation(
    result: Distillation, config: Config, tmp_path: Path
) -> None:
    content = json.loads((result.folder / 'plan.json').read_text())
    plan = replace(Plan(**content), epochs=40, batch_size=16, views=2)
    files = [f'{index}.png' for index in range(200)]
    photos = Photos('x', files, labels=[0, 1] * 100, classes=['a', 'b'])
    plan = replace(plan, photos=200, warmup=24)
    for name in ('pixels', 'supervised'):
        twin = make_twin(name, config, plan, photos, files[:40], tmp_path)
        # Two views of 16 photos are 32 photos a step.
        assert twin.plan.batch_size == 32 and twin.plan.views == 1
        assert twin.plan.steps == pytest.approx(plan.steps, rel=0.01)
        cfg = twin.config
        assert cfg.train_cfg.max_epochs == twin.plan.epochs
        assert cfg.param_scheduler[-1].end == twin.plan.steps
        assert cfg.model.backbone == config.model.backbone
        rate = config.optim_wrapper.optimizer.lr
        if name == 'pixels':
            assert cfg.optim_wrapper.optimizer.lr == pytest.approx(10 * rate)
            assert cfg.model.neck.in_channels == (16, 32, 64, 128)
            assert twin.plan.photos == 200
        else:
            assert cfg.optim_wrapper.optimizer.lr == rate
            assert cfg.model.head.in_channels == 128
            assert cfg.model.head.num_classes == 2
            assert twin.plan.photos == 160
    assert config.model.type == 'mmhgkd.HGKD'
    few = replace(plan, photos=20, batch_size=20)
    some = Photos('x', files[:20])
    twin = make_twin('pixels', config, few, some, (), tmp_path)
    assert twin.plan.batch_size == 20 and twin.plan.steps == 40


def test_stages_that_a_decoder_does_not_fit(
    config: Config,
    result: Distillation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert stages(backbone_of('resnet18')) == [
        (64, 4),
        (128, 8),
        (256, 16),
        (512, 32),
    ]
    plan = Plan(**json.loads((result.folder / 'plan.json').read_text()))
    module = __import__('sys').modules[make_twin.__module__]
    monkeypatch.setattr(module, 'stages', lambda _: [(64, 4), (128, 4)])
    photos = Photos('x', [f'{index}.png' for index in range(12)])
    with pytest.raises(ConfigError, match=r'strides \(4, 4\).* leave it out'):
        make_twin('pixels', config, plan, photos, (), tmp_path)


def test_durations(
    result: Distillation, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(**json.loads((result.folder / 'plan.json').read_text()))
    plan = replace(plan, photos=120, batch_size=16, epochs=10)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.BatchNorm2d(3)
            self.seen: list[int] = []

        def loss(self, inputs: torch.Tensor, samples: list) -> dict:
            self.seen.append(len(inputs))
            return dict(loss=self.layer(inputs).square().mean())

        def parse_losses(self, losses: dict) -> tuple:
            return losses['loss'], {}

    network = Network().eval()
    # The first step allocates, and something else delays the last.
    clock = iter([0.0, 100.0, 100.0, 102.0, 102.0, 120.0])
    monkeypatch.setattr('time.perf_counter', lambda: next(clock))
    state = torch.random.get_rng_state()
    # 70 steps of 16 images, where 8 of them take 2 s.
    assert guess_duration(network, plan) == 'about 5 min'
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not network.layer.running_mean.any() and not network.training


def test_a_twin_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(dict(work_dir=str(tmp_path)))
    weights: dict = dict(state_dict=dict(a=torch.ones(2)))
    more: dict = dict(optimizer={}, message_hub={}, param_schedulers=[])

    def train(cfg: Config, progress: bool) -> None:
        assert cfg.resume == 'auto'
        for place, name in enumerate(('epoch_1', 'interrupted', 'epoch_2')):
            weights['meta'] = dict(epoch=place, iter=place)
            torch.save({**weights, **more}, tmp_path / f'{name}.pth')
        last = tmp_path / 'last_checkpoint'
        last.write_text(str(tmp_path / 'epoch_2.pth'))

    module = __import__('sys').modules[train_aside.__module__]
    monkeypatch.setattr(module, 'train', train)
    out = tmp_path / 'student.pth'
    train_aside(config, out, False)
    assert list(tmp_path.glob('*.pth')) == [out]
    found = torch.load(out, weights_only=True)
    assert found['meta'] == weights['meta'] and 'optimizer' not in found
    assert (tmp_path / 'last_checkpoint').read_text() == str(out)
