from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet
from PIL import Image

from mmhgkd.apis import (
    STUDENTS,
    Distillation,
    build_student,
    extract_features,
    load_student,
)
from mmhgkd.masks import RandomUnitMask
from mmhgkd.transfer.converters import read_student
from mmhgkd.utils import ConfigError

NARROW = dict(stem_channels=16, base_channels=16)


@pytest.fixture(scope='module')
def checkpoint(result: Distillation) -> Path:
    return result.checkpoint


@pytest.mark.parametrize('name', STUDENTS)
def test_students_are_what_they_are_called(name: str) -> None:
    backbone = STUDENTS[name]
    assert backbone['type'].startswith('mmhgkd.Sparse')
    assert str(backbone.get('depth', backbone.get('arch', 'v2'))) in name


def test_build_student() -> None:
    torch.manual_seed(0)
    student = build_student('resnet18', **NARROW)
    images = torch.randn(2, 3, 64, 96)
    plain = ResNet(18, out_indices=(0, 1, 2, 3), **NARROW)
    plain.load_state_dict(student.backbone.state_dict())
    plain.train(False)
    with torch.no_grad():
        for found, expected in zip(
            student.extract_feat(images), plain(images), strict=True
        ):
            torch.testing.assert_close(found, expected.mean((2, 3)))
        mask = RandomUnitMask().draw(2, 64, 96, 0, images.device)
        assert student.backbone(images, mask)[0].stride == 4
    with pytest.raises(ConfigError, match=r'the students are resnet18, '):
        build_student('resnet17')


def test_distil_then_load_then_extract(checkpoint: Path, scenes: Path) -> None:
    assert checkpoint.name == 'student.pth'
    student = load_student(checkpoint)
    weights = torch.load(checkpoint, weights_only=False)['state_dict']
    plain = ResNet(18, out_indices=(3,), **NARROW)
    plain.load_state_dict(
        {
            key.removeprefix('backbone.'): value
            for key, value in weights.items()
            if key.startswith('backbone.')
        }
    )
    plain.train(False)
    embeddings, files = extract_features(student, scenes / 'val', batch_size=4)
    assert list(files) == sorted(
        str(path) for path in (scenes / 'val').rglob('*.*')
    )
    # The scenes have the size of the evaluation, so nothing is resized.
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    pixels = torch.stack([_read(file) for file in files])
    with torch.no_grad():
        expected = plain((pixels - mean) / std)[0].mean((2, 3))
    torch.testing.assert_close(embeddings, expected, rtol=1e-4, atol=1e-4)

    again = extract_features(student, pixels)
    assert again.files == ()
    torch.testing.assert_close(again.embeddings, expected)
    one = extract_features(student, files[2])
    torch.testing.assert_close(one.embeddings, embeddings[2:3])
    two = extract_features(student, [Path(files[3]), files[1]])
    torch.testing.assert_close(two.embeddings, embeddings[[3, 1]])
    assert two.files == (files[3], files[1])


def _read(path: str) -> torch.Tensor:
    image = Image.open(path).convert('RGB')
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, 3).permute(2, 0, 1).float()


def test_config_by_name_must_be_the_right_one(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match='does not fit its config'):
        load_student(checkpoint, 'hgkd/r50_mae')
    own = read_student(str(checkpoint))
    bare = tmp_path / 'bare.pth'
    state = {f'backbone.{key}': value for key, value in own.weights.items()}
    torch.save(state, bare)
    with pytest.raises(ConfigError, match='holds no config'):
        load_student(bare)
    config = dict(model=dict(type='HGKD', backbone=own.backbone))
    loaded = load_student(bare, config)
    assert all(
        torch.equal(value, state[key])
        for key, value in loaded.state_dict().items()
    )


def test_classifier_keeps_its_head(tmp_path: Path) -> None:
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18, **NARROW),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=4, in_channels=128),
    )
    state = load_state(model)
    path = tmp_path / 'epoch_1.pth'
    text = Config(dict(model=model)).pretty_text
    torch.save(dict(state_dict=state, meta=dict(cfg=text)), path)
    student = load_student(path)
    assert torch.equal(student.head.fc.weight, state['head.fc.weight'])
    del state['head.fc.bias']
    torch.save(dict(state_dict=state, meta=dict(cfg=text)), path)
    with pytest.raises(ConfigError, match=r'1 missing: head\.fc\.bias'):
        load_student(path)


def load_state(model: dict) -> dict:
    from mmpretrain import get_model

    return get_model(Config(dict(model=model))).state_dict()


def test_wrong_images(scenes: Path, tmp_path: Path) -> None:
    student = build_student('resnet18', **NARROW)
    with pytest.raises(ConfigError, match=r'\(N, 3, H, W\)'):
        extract_features(student, torch.zeros(3, 64, 64))
    with pytest.raises(ConfigError, match='no image lies in'):
        extract_features(student, tmp_path)
    with pytest.raises(ConfigError, match=r'a\.jpg'):
        extract_features(student, tmp_path / 'a.jpg')
    with pytest.raises(ConfigError, match='`images` is empty'):
        extract_features(student, [])


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    model = dict(type='HGKD', backbone=dict(type='ResNet', depth=18, **NARROW))
    student = build_student('resnet18', **NARROW)
    state = student.state_dict()
    prefixed = {f'_orig_mod.{key}': value for key, value in state.items()}
    path = tmp_path / 'a.pth'
    torch.save(prefixed, path)
    loaded = load_student(path, dict(model=model)).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    prefixed['_orig_mod.backbone.conv1.weight'][0, 0, 0, 0] = torch.nan
    torch.save(prefixed, path)
    with pytest.raises(ConfigError, match=r'not finite, backbone\.conv1'):
        load_student(path, dict(model=model))
