from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models.utils import build_2d_sincos_position_embedding
from vit_reference import (
    EMBED_DIMS,
    NUM_LAYERS,
    PATCH,
    arch,
    beit_state,
    mae_state,
    reference_tokens,
)

from mmhgkd.masks import UnitMask
from mmhgkd.registry import MODELS
from mmhgkd.teachers import MIMTeacher

BEIT_NORM: dict[str, Any] = dict(mean=(127.5,) * 3, std=(127.5,) * 3)


def vit(**kwargs: object) -> dict:
    """Config of a tiny MAE encoder."""
    return {
        'type': 'MAEViT',
        'arch': arch(),
        'patch_size': PATCH,
        'img_size': (32, 24),
        **kwargs,
    }


def beit(shared: bool) -> dict:
    """Config of a tiny BEiT, before (shared) or after fine-tuning."""
    config = vit(type='BEiTPretrainViT' if shared else 'BEiTViT')
    return config if shared else {**config, 'final_norm': True}


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 24, dtype=torch.float64)


@pytest.mark.parametrize('kind', ['MAEViT', 'VisionTransformer'])
@pytest.mark.parametrize('layer', [-1, 2, 0, -2])
def test_gives_the_tokens_of_mae(
    tmp_path: Path, images: torch.Tensor, kind: str, layer: int
) -> None:
    state = mae_state(4, 3)
    torch.save({'model': state}, tmp_path / 'mae.pth')
    teacher = MIMTeacher(
        vit(type=kind),
        str(tmp_path / 'mae.pth'),
        layer=layer,
        target_norm='none',
    ).double()
    assert teacher.embed_dims == EMBED_DIMS
    assert teacher.grid(32, 24) == (4, 3)
    expected = reference_tokens(
        state, images, num_layers=layer % NUM_LAYERS + 1
    )
    torch.testing.assert_close(teacher(images), expected)


@pytest.mark.parametrize('layer', [(-1, 0), [0, 1]])
@pytest.mark.parametrize('input', ['full', 'visible'])
def test_several_layers_side_by_side(
    tmp_path: Path, layer: Sequence[int], input: str
) -> None:
    state = mae_state(4, 4)
    torch.save({'model': state}, tmp_path / 'mae.pth')
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    teacher = MIMTeacher(
        vit(img_size=32),
        str(tmp_path / 'mae.pth'),
        layer=layer,
        input=input,
        target_norm='none',
    ).double()
    mask = UnitMask(torch.arange(4)[None], 2, 2, 2 * PATCH)
    visible = mask._replace(unit=2).positions(1)
    expected = torch.cat(
        [
            reference_tokens(state, images, num_layers=index + 1)
            for index in sorted(x % NUM_LAYERS for x in layer)
        ],
        -1,
    )
    assert teacher.embed_dims == 2 * EMBED_DIMS
    assert visible.size(1) == expected.size(1)
    torch.testing.assert_close(teacher(images, mask), expected)


@pytest.mark.parametrize('shared', [True, False])
@pytest.mark.parametrize('layer', [-1, 0])
def test_gives_the_tokens_of_beit(
    tmp_path: Path, images: torch.Tensor, shared: bool, layer: int
) -> None:
    state = beit_state(4, 3, shared)
    torch.save({'model': state}, tmp_path / 'beit.pth')
    teacher = MIMTeacher(
        beit(shared),
        str(tmp_path / 'beit.pth'),
        layer=layer,
        target_norm='none',
        **BEIT_NORM,
    ).double()
    expected = reference_tokens(
        state, images, num_layers=layer % NUM_LAYERS + 1
    )
    torch.testing.assert_close(teacher(images), expected)


@pytest.mark.parametrize('layer', [-1, 1])
def test_sees_visible_patches_only(
    tmp_path: Path, images: torch.Tensor, layer: int
) -> None:
    state = mae_state(4, 4)
    torch.save({'model': state}, tmp_path / 'mae.pth')
    teacher = MIMTeacher(
        vit(img_size=32),
        str(tmp_path / 'mae.pth'),
        layer=layer,
        input='visible',
        target_norm='none',
    ).double()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    # Units 1 and 2 of 2x2, in patches of the 4x4 grid.
    visible = torch.tensor([2, 3, 6, 7, 8, 9, 12, 13])
    mask = UnitMask(torch.tensor([[1, 2]]), 2, 2, 2 * PATCH)
    expected = images.new_zeros(1, 16, EMBED_DIMS)
    expected[:, visible] = reference_tokens(
        state, images, visible, num_layers=layer % NUM_LAYERS + 1
    )
    tokens = teacher(images, mask)
    torch.testing.assert_close(tokens, expected)
    noise = torch.randn_like(images)
    hidden = ~mask.visible(1)
    torch.testing.assert_close(teacher(images + noise * hidden, mask), tokens)


def test_all_visible_is_full_also_on_another_image_size(
    tmp_path: Path,
) -> None:
    torch.save(mae_state(4, 4), tmp_path / 'mae.pth')
    images = torch.randn(1, 3, 32, 64)
    mask = UnitMask(torch.arange(8)[None], 2, 4, 2 * PATCH)
    full, visible = (
        MIMTeacher(vit(img_size=32), str(tmp_path / 'mae.pth'), input=mode)
        for mode in ('full', 'visible')
    )
    torch.testing.assert_close(visible(images, mask), full(images))
    # A position embedding of another grid is resized, both ways alike.
    loaded = MIMTeacher(vit(img_size=(32, 64)), str(tmp_path / 'mae.pth'))
    torch.testing.assert_close(loaded(images), full(images))


def test_never_drops_a_path(tmp_path: Path, images: torch.Tensor) -> None:
    state = mae_state(4, 3)
    torch.save(state, tmp_path / 'mae.pth')
    teacher = MIMTeacher(
        vit(drop_path_rate=0.9, drop_rate=0.5),
        str(tmp_path / 'mae.pth'),
        target_norm='none',
    ).double()
    teacher.train()
    torch.testing.assert_close(
        teacher(images), reference_tokens(state, images)
    )
    assert not any(p.requires_grad for p in teacher.parameters())


def test_is_built_from_a_config_of_any_scope(tmp_path: Path) -> None:
    torch.save(mae_state(4, 3), tmp_path / 'mae.pth')
    backbone = vit()
    config = dict(
        type='mmhgkd.MIMTeacher',
        backbone=backbone,
        checkpoint=str(tmp_path / 'mae.pth'),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        teacher = MODELS.build(config)
    assert isinstance(teacher, MIMTeacher)
    assert backbone == vit()


def test_random_teacher_is_initialized_and_only_on_request() -> None:
    with pytest.raises(ValueError, match='a random teacher teaches'):
        MIMTeacher(vit())
    teacher = MIMTeacher(vit(img_size=32), allow_random=True)
    expected = build_2d_sincos_position_embedding(
        4, EMBED_DIMS, cls_token=True
    )
    torch.testing.assert_close(teacher.backbone.pos_embed.data, expected)


def test_says_what_is_wrong_with_its_arguments() -> None:
    for kwargs, message in (
        (
            dict(backbone=dict(type='ResNet', depth=18)),
            '`teacher.backbone` must be a VisionTransformer or BEiTViT',
        ),
        (dict(backbone=dict(type='NoSuchViT')), "got 'NoSuchViT'"),
        (dict(backbone=dict(arch='base')), 'got None'),
        (dict(backbone=beit(True)), '`teacher.mean` and `teacher.std` are'),
        (dict(backbone=beit(True), mean=(127.5,) * 3), 'needed for a BEiT'),
        (
            dict(backbone=beit(True), input='visible', **BEIT_NORM),
            'without relative position bias',
        ),
        (dict(backbone=vit(), layer=3), '`teacher.layer` is 3, but .* 3 bl'),
        (dict(backbone=vit(), layer=-4), '`teacher.layer` is -4'),
        (dict(backbone=vit(), layer=(-1, 2)), 'several different ones'),
        (dict(backbone=vit(), layer=()), 'must name one block'),
    ):
        with pytest.raises(ValueError, match=message):
            MIMTeacher(**kwargs, allow_random=True)
    teacher = MIMTeacher(beit(True), allow_random=True, **BEIT_NORM)
    with pytest.raises(
        ValueError, match='images of 32x24 px only, and 32x32 px have'
    ):
        teacher(torch.zeros(1, 3, 32, 32))
