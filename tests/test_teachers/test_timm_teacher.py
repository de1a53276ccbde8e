from pathlib import Path

import pytest
import torch
from vit_reference import (
    EMBED_DIMS,
    NUM_LAYERS,
    PATCH,
    arch,
    beit_state,
    mae_state,
    reference_tokens,
    timm_args,
)

from mmhgkd.masks import UnitMask
from mmhgkd.registry import MODELS
from mmhgkd.teachers import MIMTeacher, TimmTeacher

MAE = 'vit_base_patch16_224.mae'
STEM = 'vit_tiny_r_s16_p8_224.augreg_in21k'
BEIT = 'beit_base_patch16_224.in22k_ft_in22k'


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 24, dtype=torch.float64)


@pytest.mark.parametrize('layer', [(-1, 0), (0, 1)])
@pytest.mark.parametrize('input', ['full', 'visible'])
def test_several_layers_side_by_side(
    tmp_path: Path, layer: tuple[int, int], input: str
) -> None:
    state = mae_state(4, 4)
    torch.save(state, tmp_path / 'mae.pth')
    teacher = TimmTeacher(
        MAE,
        str(tmp_path / 'mae.pth'),
        timm_args(img_size=32),
        layer=layer,
        input=input,
        target_norm='none',
    ).double()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    mask = UnitMask(torch.arange(4)[None], 2, 2, 2 * PATCH)
    expected = torch.cat(
        [
            reference_tokens(state, images, num_layers=index + 1)
            for index in sorted(x % NUM_LAYERS for x in layer)
        ],
        -1,
    )
    assert teacher.embed_dims == 2 * EMBED_DIMS
    torch.testing.assert_close(teacher(images, mask), expected)


@pytest.mark.parametrize('layer', [-1, 0])
def test_gives_the_tokens_of_mae(
    tmp_path: Path, images: torch.Tensor, layer: int
) -> None:
    state = mae_state(4, 3)
    path = str(tmp_path / 'mae.pth')
    torch.save({'model': state}, path)
    teacher = (
        MODELS.build(
            dict(
                type='TimmTeacher',
                model_name=MAE,
                checkpoint=path,
                model_args=timm_args(img_size=(32, 24), drop_path_rate=0.9),
                layer=layer,
                target_norm='none',
            )
        )
        .double()
        .train()
    )
    assert teacher.embed_dims == EMBED_DIMS
    assert teacher.mean.tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert teacher.std.tolist() == pytest.approx([58.395, 57.12, 57.375])
    tokens = teacher(images)
    torch.testing.assert_close(
        tokens,
        reference_tokens(state, images, num_layers=layer % NUM_LAYERS + 1),
    )
    assert not any(p.requires_grad for p in teacher.parameters())
    other = MIMTeacher(
        dict(type='MAEViT', arch=arch(), patch_size=PATCH, img_size=(32, 24)),
        path,
        layer=layer,
        target_norm='none',
    ).double()
    torch.testing.assert_close(tokens, other(images))


@pytest.mark.parametrize('shared', [True, False])
def test_gives_the_tokens_of_beit(
    tmp_path: Path, images: torch.Tensor, shared: bool
) -> None:
    state = beit_state(4, 3, shared)
    torch.save({'module': state}, tmp_path / 'beit.pth')
    teacher = TimmTeacher(
        BEIT,
        str(tmp_path / 'beit.pth'),
        timm_args(
            img_size=(32, 24),
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
        ),
        target_norm='none',
    ).double()
    assert teacher.mean.tolist() == [127.5] * 3
    torch.testing.assert_close(
        teacher(images), reference_tokens(state, images)
    )
    with pytest.raises(
        ValueError, match='images of 32x24 px only, and 32x32 px have'
    ):
        teacher(torch.zeros(1, 3, 32, 32))


def test_loads_the_layout_of_mmpretrain(
    tmp_path: Path, images: torch.Tensor
) -> None:
    torch.save(mae_state(4, 3), tmp_path / 'mae.pth')
    mmpretrain = MIMTeacher(
        dict(type='MAEViT', arch=arch(), patch_size=PATCH, img_size=(32, 24)),
        str(tmp_path / 'mae.pth'),
    )
    torch.save(
        {
            'state_dict': {
                f'backbone.{key}': value
                for key, value in mmpretrain.backbone.state_dict().items()
            }
        },
        tmp_path / 'mmpretrain.pth',
    )
    teacher = TimmTeacher(
        MAE, str(tmp_path / 'mmpretrain.pth'), timm_args(img_size=(32, 24))
    )
    torch.testing.assert_close(
        teacher.double()(images), mmpretrain.double()(images)
    )


@pytest.mark.parametrize('layer', [-1, 1])
def test_sees_visible_patches_only(tmp_path: Path, layer: int) -> None:
    state = mae_state(4, 4)
    torch.save(state, tmp_path / 'mae.pth')
    teacher = TimmTeacher(
        MAE,
        str(tmp_path / 'mae.pth'),
        timm_args(img_size=32),
        layer=layer,
        input='visible',
        target_norm='none',
    ).double()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    visible = torch.tensor([2, 3, 6, 7, 8, 9, 12, 13])
    mask = UnitMask(torch.tensor([[1, 2]]), 2, 2, 2 * PATCH)
    expected = images.new_zeros(1, 16, EMBED_DIMS)
    expected[:, visible] = reference_tokens(
        state, images, visible, num_layers=layer % NUM_LAYERS + 1
    )
    torch.testing.assert_close(teacher(images, mask), expected)


def test_takes_other_image_sizes(tmp_path: Path) -> None:
    state = mae_state(4, 4)
    torch.save(state, tmp_path / 'mae.pth')
    teacher = TimmTeacher(
        MAE, str(tmp_path / 'mae.pth'), timm_args(img_size=32)
    )
    images = torch.randn(1, 3, 48, 32)
    assert teacher(images).shape == (1, 6 * 4, EMBED_DIMS)
    # Resizing the position embedding while loading comes to the same.
    loaded = TimmTeacher(
        MAE, str(tmp_path / 'mae.pth'), timm_args(img_size=(48, 32))
    )
    torch.testing.assert_close(teacher(images), loaded(images))


def test_says_what_does_not_fit(tmp_path: Path) -> None:
    torch.save(beit_state(4, 4, shared=True), tmp_path / 'beit.pth')
    with pytest.raises(
        ValueError, match=r'1 unexpected: rel_pos_bias\.relative'
    ):
        TimmTeacher(BEIT, str(tmp_path / 'beit.pth'), timm_args(img_size=32))
    for name, kwargs, message in (
        ('resnet18.a1_in1k', {}, "'resnet18.a1_in1k' is a ResNet; Timm"),
        ('coat_tiny.in1k', {}, 'timm cannot build .*token or avg pooling'),
        ('vit_base_patch16_224', {}, 'does not say which pre-training'),
        (
            BEIT,
            dict(input='visible', model_args=timm_args()),
            'needs a timm VisionTransformer',
        ),
        (
            STEM,
            dict(input='visible', model_args=dict(depth=1)),
            'embeds each patch on its own, got VisionTransformer with the '
            'stem HybridEmbed',
        ),
        ('vit_of_nobody.mae', {}, 'timm cannot build .*Unknown model'),
        ('vit_base_patch16_224.x', {}, 'timm cannot build .*tag'),
        (
            MAE,
            dict(layer=5, model_args=timm_args()),
            '`teacher.layer` is 5, but .* has 3 blocks',
        ),
        (
            MAE,
            dict(model_args=timm_args(no_such_argument=1)),
            'timm cannot build .*no_such_argument',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            TimmTeacher(name, allow_random=True, **kwargs)
    with pytest.raises(ValueError, match='a random teacher teaches'):
        TimmTeacher(MAE)


@pytest.mark.parametrize(
    ('name', 'patch', 'width'),
    [(STEM, 32, 192), ('vit_small_r26_s32_224.augreg_in21k', 32, 384)],
)
@pytest.mark.parametrize('img_size', [224, 96])
@torch.no_grad()
def test_convolutional_stem(
    name: str, patch: int, width: int, img_size: int
) -> None:
    teacher = TimmTeacher(
        name,
        model_args=dict(depth=1, img_size=img_size),
        target_norm='none',
        allow_random=True,
    )
    assert (teacher.patch_size, teacher.embed_dims) == (patch, width)
    images = torch.randn(1, 3, 64, 96)
    assert teacher.grid(64, 96) == (2, 3)
    network = teacher.network
    expected = network.forward_features(images)
    expected = expected[:, network.num_prefix_tokens :]
    assert expected.shape == (1, 6, width)
    torch.testing.assert_close(teacher(images), expected)
    with pytest.raises(ValueError, match='whole number of the teacher'):
        teacher(torch.zeros(1, 3, 48, 64))
