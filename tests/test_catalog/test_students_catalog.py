import pytest
import timm
import torchvision
from mmpretrain.registry import MODELS

from mmhgkd.catalog import (
    STUDENTS,
    student_backbone,
    student_name,
    student_names,
)
from mmhgkd.catalog.library_students import (
    EQUALS,
    MMPRETRAIN,
    TIMM,
    TORCHVISION,
    is_transformer,
)
from mmhgkd.utils import ConfigError


def test_the_libraries_have_them() -> None:
    assert not set(TIMM) - set(timm.list_models())
    models = torchvision.models
    assert not set(TORCHVISION) - set(models.list_models(models))
    for config in MMPRETRAIN.values():
        assert MODELS.get(config['type']) is not None
    for name, own in EQUALS.items():
        assert timm.is_model(name.removeprefix('timm/')) and own in STUDENTS


def test_names_are_listed_once_and_found() -> None:
    names = student_names()
    assert len(set(names)) == len(names) > 250
    assert names[: len(STUDENTS)] == list(STUDENTS)
    assert all(student_name(name) == name for name in names)


def test_no_student_is_taken_for_a_transformer() -> None:
    assert not list(filter(is_transformer, [*TIMM, *TORCHVISION, *MMPRETRAIN]))
    # The names are alike, the networks are not.
    for name in (
        'repvit_m1',
        'poolformerv2_s12',
        'convmixer_768_32',
        'efficientvit_b0',
        'visformer_tiny',
    ):
        assert not is_transformer(name)
    for name in ('vit_tiny_patch16_224', 'ViT-B', 'swin_t', 'mobilevit_s'):
        assert is_transformer(name)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('timm/convnextv2_atto', 'convnextv2_atto'),
        ('torchvision/mobilenet_v3_small', 'mobilenet_v3_small'),
        ('timm/mobilenetv2_100', 'mobilenet_v2'),
        ('torchvision/efficientnet_b0', 'torchvision/efficientnet_b0'),
        ('RegNetY-002', 'timm/regnety_002'),
        ('mmpretrain/SEResNet50', 'mmpretrain/seresnet50'),
        ('timm/fastvit_t8', 'timm/fastvit_t8'),
    ],
)
def test_spellings(name: str, expected: str) -> None:
    assert student_name(name) == expected


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('keras/resnet50', 'there is no library'),
        ('vit_small_patch16_224', 'is a transformer'),
        ('timm/swinv2_tiny_window8_256', 'is a transformer'),
        ('torchvision/swin_v2_t', 'is a transformer'),
        ('ViT-B/16', 'is a transformer'),
        ('facebook/dinov2-small', 'is a transformer'),
        ('mmpretrain/seresnet51', r'did you mean seresnet'),
        ('regnety_003', r'did you mean timm/regnety|did you mean .*regnet'),
    ],
)
def test_wrong_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        student_name(name)


def test_backbones_are_copies() -> None:
    student_backbone('mmpretrain/seresnet50')['network']['depth'] = 1
    again = student_backbone('mmpretrain/seresnet50')
    assert again['network']['depth'] == 50
    student_backbone('resnet18')['depth'] = 1
    assert STUDENTS['resnet18']['depth'] == 18
