"""Students that do not fit decoder, losses or mask."""

import copy
from typing import Any

import pytest
import torch
from test_hgkd import build, config, images
from torch import nn

from mmhgkd.algorithms import HGKD
from mmhgkd.backbones import SparseResNet
from mmhgkd.utils import ConfigError

RESNET = config()['backbone']
CHANNELS = (8, 16, 32, 64)
UNET = config()['neck']
GRID = dict(
    type='mmhgkd.GridNeck', in_channels=CHANNELS, width=16, out_channels=24
)
DILATED = dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))


def direct(**changes: Any) -> dict:
    loss = dict(
        type='mmhgkd.DirectImitationLoss', in_channels=64, out_channels=24
    )
    return dict(
        type='mmhgkd.DistillationHead', direct_loss=dict(loss, **changes)
    )


def embedding(**changes: Any) -> dict:
    head = config()['head']
    return dict(head, embedding=dict(head['embedding'], **changes))


@pytest.mark.parametrize('neck', [UNET, GRID])
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (DILATED, r'strides of \(4, 8, 16, 16\) px.*dilations of the backb'),
        (dict(strides=(2, 2, 2, 1)), r'\(8, 16, 32, 32\) px'),
        (dict(strides=(2, 2, 2, 2)), r'set `neck\.finest_stride=8`'),
        (dict(out_indices=(1, 2, 3)), r'neck\.in_channels=\(16, 32, 64\)'),
        (dict(out_indices=(-1,)), r'gives no features.*out_indices'),
        (dict(depth=50), r'gives 4 features of \(32, 64, 128, 256\)'),
        (dict(base_channels=16), r'neck\.in_channels=\(16, 32, 64, 128\)'),
    ],
)
def test_decoder(neck: dict, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(backbone=dict(RESNET, **changes), neck=neck)


@pytest.mark.parametrize('kind', ['UNetNeck', 'GridNeck'])
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(finest_stride=2), r'takes \(2, 4, 8, 16\); set.*stride=4`'),
        (dict(finest_stride=0), '`finest_stride` must be a whole number'),
        (dict(in_channels=(8, 16)), r'the decoder takes 2 of \(8, 16\)'),
        (dict(in_channels=()), 'at least one feature'),
        (dict(in_channels=64), 'such as .*got 64'),
        (dict(in_channels=(8, 16, 32, -64)), 'at least one feature'),
        (dict(in_channels=(8, 16, 32, '64')), 'at least one feature'),
        (dict(out_stride=0), '`out_stride` must be a whole number'),
        (dict(width=1.5), '`width` must be a whole number'),
        (dict(depth=True), '`depth` must be a whole number'),
        (dict(out_channels=0), '`out_channels` must be a whole number'),
    ],
)
def test_options_of_decoders(kind: str, changes: dict, message: str) -> None:
    neck = dict(UNET, type=f'mmhgkd.{kind}')
    with pytest.raises(ConfigError, match=message):
        build(neck=dict(neck, **changes))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(head=direct(strides=16)), 'set direct_loss.*`strides` to 32'),
        (dict(head=direct(in_channels=32)), '`in_channels` to 64'),
        (
            dict(
                head=direct(
                    stages=(-1, -5), in_channels=(64, 8), strides=(32, 2)
                )
            ),
            'names -5, but the backbone gives 4 features; set `stages`',
        ),
        (
            dict(head=embedding(in_channels=32, projector='linear')),
            r"source 'decoder' has 24.*set `head\.embedding\.in_channels=24`",
        ),
        (
            dict(
                head=embedding(
                    source='encoder', in_channels=24, projector='linear'
                )
            ),
            r'set `head\.embedding\.in_channels=64`',
        ),
        (
            dict(mask=dict(type='mmhgkd.RandomUnitMask', unit=16)),
            r'no multiple of the stride 32 .*set `mask\.unit=32`',
        ),
        (
            dict(backbone=dict(type='mmpretrain.ResNet', depth=18)),
            'ResNet takes no mask; set it to a sparse student',
        ),
        (
            dict(backbone=dict(type='mmpretrain.MobileNetV2')),
            'MobileNetV2 takes no mask',
        ),
    ],
)
def test_losses_and_mask(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)


class Bare(SparseResNet):
    """A student of a user's own that does not say what its maps are."""

    def _record(self) -> None:
        return


@pytest.mark.parametrize('neck', [UNET, GRID])
def test_unknown_students_are_checked_at_the_first_batch(neck: dict) -> None:
    settings = copy.deepcopy(RESNET)
    settings.pop('type')
    model: HGKD = build(neck=neck)
    for changes, message in (
        (DILATED, r'\(4, 8, 16, 16\) px'),
        (dict(out_indices=(0, 1, 2)), r'neck\.in_channels=\(8, 16, 32\)'),
    ):
        model.backbone = Bare(**settings, **changes)
        with pytest.raises(ConfigError, match=message):
            model.loss(images(), [])


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize(
    'changes',
    [
        {},
        DILATED,
        dict(out_indices=(3, 1)),
        dict(deep_stem=True, avg_down=True),
    ],
)
def test_maps_of_resnets(depth: int, changes: dict) -> None:
    student = SparseResNet(depth, base_channels=8, stem_channels=8, **changes)
    with torch.no_grad():
        maps = nn.Module.__call__(student, torch.zeros(1, 3, 64, 64))
    assert student.feature_channels == tuple(x.size(1) for x in maps)
    assert student.feature_strides == tuple(64 // x.size(2) for x in maps)
