import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.models import ResNet
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmhgkd.runner import safe_loading
from mmhgkd.utils import ConfigError

WIDTH = dict(stem_channels=4, base_channels=4)


class PretrainedModel(BaseModel):
    """A classifier of two classes."""

    def __init__(self, backbone: dict, spoil: bool = False) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.fc = nn.Linear(32, 2)
        self.spoil = spoil

    def init_weights(self) -> None:
        super().init_weights()
        if self.spoil:
            nn.init.ones_(self.backbone.conv1.weight)

    def forward(
        self, inputs: list[Tensor], mode: str = 'tensor'
    ) -> dict[str, Tensor] | Tensor:
        maps = self.backbone(torch.stack(list(inputs)))
        output = self.fc(maps[-1].mean((2, 3))[:, :32])
        return {'loss': output.square().mean()} if mode == 'loss' else output


class PretrainedImages(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {'inputs': torch.full((3, 32, 32), float(index))}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    MODELS.register_module(module=PretrainedModel, force=True)
    DATASETS.register_module(module=PretrainedImages, force=True)
    yield
    for registry in (DefaultScope, MessageHub, MMLogger):
        registry._instance_dict.clear()


def student(depth: int = 18, **width: int) -> ResNet:
    torch.manual_seed(0)
    network = ResNet(depth, **{**WIDTH, **width})
    for value in network.state_dict().values():
        value.copy_(torch.rand(value.shape) + 0.5)
    return network


def save(path: Path, network: nn.Module, prefix: str = 'backbone.') -> str:
    """Save as MMEngine does, with logs and NumPy numbers."""
    state = {prefix + k: v for k, v in network.state_dict().items()}
    hub = MessageHub('test_pretrained_check_hook')
    hub.update_scalar('train/loss', 0.5)
    hub.update_info('best_score', np.float64(0.7))
    torch.save(
        dict(
            state_dict={**state, 'neck.weight': torch.zeros(3)},
            meta=dict(epoch=3),
            message_hub=hub.state_dict(),
        ),
        path,
    )
    return str(path)


def runner(
    tmp_path: Path,
    checkpoint: str | None,
    *,
    prefix: str | None = 'backbone.',
    strict: bool = True,
    depth: int = 18,
    spoil: bool = False,
    **options: Any,
) -> Runner:
    init_cfg = None
    if checkpoint is not None:
        init_cfg = dict(
            type='Pretrained', checkpoint=checkpoint, prefix=prefix
        )
    backbone = options.pop('backbone', None) or dict(
        type='mmpretrain.ResNet', depth=depth, init_cfg=init_cfg, **WIDTH
    )
    loader = dict(
        batch_size=2,
        dataset=dict(type='PretrainedImages'),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    config = dict(
        default_scope='mmengine',
        work_dir=str(tmp_path / 'run'),
        model=dict(type='PretrainedModel', backbone=backbone, spoil=spoil),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        # A rate of zero: what is trained is what was loaded.
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        custom_hooks=[dict(type='mmhgkd.PretrainedCheckHook', strict=strict)],
        experiment_name=f'{tmp_path.name}{os.urandom(4).hex()}',
        **options,
    )
    return Runner.from_cfg(Config(config))


def assert_loaded(run: Runner, network: nn.Module) -> None:
    own = dict(run.model.backbone.named_parameters())
    for key, value in network.named_parameters():
        assert torch.equal(own[key], value), key


def test_loads_what_fits(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', student())
    run = runner(tmp_path, path)
    run.train()
    assert_loaded(run, student())
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert f'{path}: fits 100 of 100 weights of `backbone` (ResNet)' in log


def test_bare_weights_beside_a_classifier(tmp_path: Path) -> None:
    """As the supervised weights of torchvision."""
    torch.save(
        dict(student().state_dict(), **{'fc.weight': torch.zeros(3)}),
        tmp_path / 'a.pth',
    )
    run = runner(tmp_path, str(tmp_path / 'a.pth'), prefix=None)
    run.train()
    assert_loaded(run, student())
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert '`backbone` (ResNet), not used: fc' in log


SPARSE = dict(type='mmhgkd.SparseResNet', depth=18)
OF_TIMM = dict(
    type='mmhgkd.SparseNetwork',
    network=dict(
        type='mmpretrain.TIMMBackbone',
        model_name='test_resnet',
        features_only=True,
        out_indices=(1, 2, 3, 4),
    ),
)


@pytest.mark.parametrize(
    ('backbone', 'given', 'lead'),
    [
        (SPARSE, lambda: torchvision.models.resnet18(), ''),
        (SPARSE, lambda: timm.create_model('resnet18'), ''),
        (OF_TIMM, lambda: timm.create_model('test_resnet'), 'timm_model.'),
    ],
)
def test_a_student_goes_on_from_supervised_weights(
    backbone: dict, given: Any, lead: str, tmp_path: Path
) -> None:
    network = given()
    path = str(tmp_path / 'supervised.pth')
    torch.save(network.state_dict(), path)
    run = runner(tmp_path, None, load_from=path, backbone=backbone)
    run.train()
    own = dict(run.model.backbone.named_parameters())
    state = network.state_dict()
    assert own and all(
        torch.equal(value, state[key.removeprefix(lead)])
        for key, value in own.items()
    )


def test_a_student_goes_on_from_pixels(tmp_path: Path) -> None:
    """From a pre-training of this project as SparK's."""
    given = MODELS.build(SPARSE)
    path = save(tmp_path / 'epoch_3.pth', given)
    run = runner(tmp_path, None, load_from=path, backbone=SPARSE)
    run.train()
    assert_loaded(run, given)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('resnet34', r'supervised\.pth: fits 100 of 100 .* 80 unexpected'),
        ('resnet50', r'supervised\.pth: fits .* of another shape'),
        ('vgg11', r'supervised\.pth: no key starts with `backbone\.`'),
    ],
)
def test_supervised_weights_of_another_network(
    name: str, message: str, tmp_path: Path
) -> None:
    with torch.device('meta'):
        network = torchvision.models.get_model(name)
    path = str(tmp_path / 'supervised.pth')
    state = {
        key: torch.zeros(()).expand(value.shape)
        for key, value in network.state_dict().items()
        if not key.startswith(('fc.', 'classifier.'))
    }
    torch.save(state, path)
    run = runner(tmp_path, None, load_from=path, backbone=SPARSE)
    with pytest.raises(ConfigError, match=message) as error:
        run.train()
    assert '\n' not in str(error.value)


def test_model_without_checkpoint_is_trained(tmp_path: Path) -> None:
    runner(tmp_path, None).train()


@pytest.mark.parametrize(
    ('network', 'prefix', 'message'),
    [
        (student(34), 'backbone.', r'80 unexpected: layer1\.2\.conv1\.weight'),
        (
            student(base_channels=8),
            'backbone.',
            r'layer1\.0\.conv1\.weight \(8, 4, 3, 3\), not \(4, 4, 3, 3\)',
        ),
        (
            student(),
            'encoder.',
            r'no key starts with `encoder\.`, the prefixes '
            r'that exist are backbone\., neck\.; set '
            r"`model\.backbone\.init_cfg\.prefix='backbone\.'`",
        ),
        (
            student(),
            None,
            r'100 missing: .*; set '
            r"`model\.backbone\.init_cfg\.prefix='backbone\.'`",
        ),
    ],
)
def test_says_what_does_not_fit(
    tmp_path: Path, network: ResNet, prefix: str | None, message: str
) -> None:
    path = save(tmp_path / 'a.pth', network)
    run = runner(tmp_path, path, prefix=prefix)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    with pytest.raises(ConfigError, match=message) as error:
        run.train()
    assert str(error.value).startswith(f'{path}: ')
    assert '\n' not in str(error.value)
    for key, value in run.model.state_dict().items():
        assert torch.equal(value, before[key]), 'nothing is loaded before'


def test_another_depth_is_missing_layers(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', student())
    with pytest.raises(
        ConfigError,
        match=r'fits 100 of 180 weights of `backbone` \(ResNet\): 80 '
        r'missing: .*choose the architecture \(depth, width\)',
    ):
        runner(tmp_path, path, depth=34).train()


def test_partial_loading_on_demand(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', student())
    run = runner(tmp_path, path, depth=34, strict=False)
    run.train()
    assert torch.equal(run.model.backbone.conv1.weight, student().conv1.weight)
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'WARNING' in log and 'fits 100 of 180 weights' in log


def test_weights_that_are_overwritten(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', student())
    with pytest.raises(
        ConfigError,
        match=r'1 weights of `backbone` are not those of its checkpoint '
        r'after the initialization, such as conv1\.weight',
    ):
        runner(tmp_path, path, spoil=True).train()


class Payload:
    """Unpickles as a call of a function."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize('option', ['init_cfg', 'load_from'])
def test_runs_no_code_of_the_file(tmp_path: Path, option: str) -> None:
    path, victim = tmp_path / 'a.pth', tmp_path / 'victim'
    payload = Payload(os.system, f'touch {victim}')
    torch.save(dict(state_dict=student().state_dict(), extra=payload), path)
    run = (
        runner(tmp_path, str(path))
        if option == 'init_cfg'
        else runner(tmp_path, None, load_from=str(path))
    )
    where = (
        'load_from'
        if option == 'load_from'
        else r'model\.backbone\.init_cfg\.checkpoint'
    )
    with pytest.raises(
        ConfigError,
        match=rf'{path}: holds the Python object \w+\.system.*`{where}`',
    ):
        run.train()
    assert not victim.exists()
    path.write_bytes(pickle.dumps(payload))
    pickle.loads(path.read_bytes())
    assert victim.exists(), 'it does harm where code may run'


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    save(path, student())
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b'', pickle.dumps(7)):
        path.write_bytes(content)
        with pytest.raises(
            ConfigError, match=f'{path}: (cannot be read|holds no)'
        ):
            runner(tmp_path, str(path)).train()
    torch.save(dict(epoch=3, optimizer={}), path)
    with pytest.raises(
        ConfigError, match=r'holds no weights .*, but: epoch, optimizer'
    ):
        runner(tmp_path, str(path)).train()
    with pytest.raises(ConfigError, match=r'none\.pth: no such file; set'):
        runner(tmp_path, 'none.pth').train()
    with pytest.raises(ConfigError, match='MMEngine loads no safetensors'):
        runner(tmp_path, 'a.safetensors').train()


def test_file_is_read_in_a_safe_run_too(tmp_path: Path) -> None:
    """The tools allow objects of the logs under the names used here."""
    path = save(tmp_path / 'a.pth', student())
    with safe_loading():
        run = runner(tmp_path, path)
        run.train()
    assert_loaded(run, student())


def test_load_from_must_hold_the_backbone(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', student())
    run = runner(tmp_path, None, load_from=path)
    run.train()
    assert_loaded(run, student())
    path = save(tmp_path / 'other.pth', student(), 'encoder.')
    with pytest.raises(ConfigError, match=r'no key starts with `backbone\.`'):
        runner(tmp_path, None, load_from=path).train()


def test_resumed_run_has_its_own_weights(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', student())
    runner(tmp_path, path).train()
    last = tmp_path / 'run' / 'epoch_1.pth'
    checkpoint = torch.load(last, weights_only=False)
    checkpoint['state_dict']['backbone.conv1.weight'] += 1
    torch.save(checkpoint, last)
    # The student does not fit any more, and does not matter any more.
    save(tmp_path / 'a.pth', student(base_channels=8))
    for load_from in (None, str(last)):
        run = runner(
            tmp_path, path, strict=True, resume=True, load_from=load_from
        )
        run.train_loop._max_epochs = 1
        run.model.backbone.init_cfg = None
        run.train()
        assert torch.equal(
            run.model.backbone.conv1.weight, student().conv1.weight + 1
        )


def test_resume_without_checkpoint_is_a_start(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', student(34))
    with pytest.raises(ConfigError, match='80 unexpected'):
        runner(tmp_path, path, resume=True).train()


def test_tested_model_must_be_whole(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', student())
    loader = dict(
        batch_size=2,
        dataset=dict(type='PretrainedImages'),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    run = runner(
        tmp_path,
        None,
        load_from=path,
        test_dataloader=loader,
        test_cfg=dict(),
        test_evaluator=[],
    )
    with pytest.raises(
        ConfigError,
        match=r'fits 100 of 102 weights of the model: 2 missing: '
        r'fc\.weight, fc\.bias',
    ):
        run.test()
