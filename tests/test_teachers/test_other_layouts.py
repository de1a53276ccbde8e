"""Teacher files of transformers, and of the authors of DINOv2 and DINOv3."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from vit_reference import (
    PATCH,
    arch,
    beit_state,
    mae_state,
    reference_tokens,
    timm_args,
)

from mmhgkd.teachers import MIMTeacher, PixelTeacher, TimmTeacher
from mmhgkd.teachers.checkpoint import read_state_dict
from mmhgkd.utils import ConfigError

State = dict[str, Tensor]
REGISTERS = 'vit_small_patch14_reg4_dinov2.lvd142m'
PLAIN = 'vit_small_patch14_dinov2.lvd142m'
GIANT = 'vit_giant_patch14_dinov2.lvd142m'
DINOV3 = 'vit_small_patch16_dinov3.lvd1689m'
BEIT = 'beit_base_patch16_224.in22k_ft_in22k'
SMALL = dict(embed_dim=32, depth=2, num_heads=2)
TO_HUGGINGFACE = (
    (r'^pos_embed$', 'embeddings.position_embeddings'),
    (r'^(cls_token|mask_token|register_tokens)$', r'embeddings.\1'),
    (r'^patch_embed\.proj\.', 'embeddings.patch_embeddings.projection.'),
    (r'^blocks\.', 'encoder.layer.'),
    (r'\.attn\.proj\.', '.attention.output.dense.'),
    (r'^norm\.', 'layernorm.'),
)
MAE = (
    (r'\.norm1\.', '.layernorm_before.'),
    (r'\.norm2\.', '.layernorm_after.'),
    (r'\.mlp\.fc1\.', '.intermediate.dense.'),
    (r'\.mlp\.fc2\.', '.output.dense.'),
    (r'^', 'vit.'),
)
DINO = (
    (r'\.ls([12])\.gamma', r'.layer_scale\1.lambda1'),
    (r'\.mlp\.w12\.', '.mlp.weights_in.'),
    (r'\.mlp\.w3\.', '.mlp.weights_out.'),
)


def huggingface(state: State, names: tuple[tuple[str, str], ...]) -> State:
    found = {}
    for key, value in state.items():
        parts = {key: value}
        if '.attn.qkv.' in key:
            parts = {
                key.replace('.attn.qkv.', f'.attention.attention.{name}.'): x
                for name, x in zip(
                    ('query', 'key', 'value'), value.chunk(3), strict=True
                )
            }
        for old, x in parts.items():
            new = old
            for pattern, replacement in (*TO_HUGGINGFACE, *names):
                new = re.sub(pattern, replacement, new)
            found[new] = x.clone()
    return found


def randomize(teacher: TimmTeacher) -> TimmTeacher:
    generator = torch.Generator().manual_seed(0)
    for value in teacher.network.parameters():
        value.data.normal_(0, 0.2, generator=generator)
    return teacher


def authors(teacher: TimmTeacher) -> State:
    """The weights as DINOv2's authors write them."""
    state = dict(teacher.network.state_dict())
    if 'reg_token' in state:
        # Theirs has a place for the class token.
        state['register_tokens'] = state.pop('reg_token')
        place = torch.randn(1, 1, state['cls_token'].size(2))
        state['cls_token'] = state['cls_token'] - place
        state['pos_embed'] = torch.cat([place, state['pos_embed']], 1)
    state['mask_token'] = torch.zeros(1, 32)
    for key in [key for key in state if '.mlp.' in key]:
        if 'giant' in teacher.network.pretrained_cfg['architecture']:
            new = key.replace('fc1', 'w12').replace('fc2', 'w3')
            state[new] = state.pop(key)
    return state


def test_mae_of_transformers(tmp_path: Path) -> None:
    state = mae_state(4, 4)
    path = tmp_path / 'mae.pth'
    content = huggingface(state, MAE)
    content['decoder.mask_token'] = torch.zeros(1)
    torch.save(content, path)
    teacher = MIMTeacher(
        dict(type='MAEViT', arch=arch(), patch_size=PATCH, img_size=32),
        str(path),
        target_norm='none',
    ).double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(
        teacher(images), reference_tokens(state, images)
    )


@pytest.mark.parametrize('name', [REGISTERS, PLAIN, GIANT])
@pytest.mark.parametrize('layout', ['authors', 'transformers', 'prefixed'])
def test_dinov2(tmp_path: Path, name: str, layout: str) -> None:
    arguments = dict(model_args=dict(SMALL, img_size=28), target_norm='none')
    expected = randomize(TimmTeacher(name, allow_random=True, **arguments))
    state = authors(expected)
    if layout != 'authors':
        state = huggingface(state, DINO)
    if layout == 'prefixed':  # of a model with a head
        prefix = 'dinov2_with_registers.' if name == REGISTERS else 'dinov2.'
        state = {f'{prefix}{key}': value for key, value in state.items()}
    path = tmp_path / 'dino.pth'
    torch.save(state, path)
    teacher = TimmTeacher(name, str(path), **arguments)
    images = torch.randn(2, 3, 28, 28)
    torch.testing.assert_close(teacher(images), expected(images))
    if layout == 'authors' and name != GIANT:
        other = PLAIN if name == REGISTERS else REGISTERS
        with pytest.raises(ConfigError, match='register tokens'):
            TimmTeacher(other, str(path), **arguments)


@pytest.mark.parametrize('part', [0, 1, 2, None])
def test_bias_of_dinov3(tmp_path: Path, part: int | None) -> None:
    """timm leaves it out, as it is zero in most files."""
    arguments = dict(model_args=dict(SMALL, embed_dim=64), target_norm='none')
    expected = randomize(TimmTeacher(DINOV3, allow_random=True, **arguments))
    state = dict(expected.network.state_dict())
    state['storage_tokens'] = state.pop('reg_token')
    bias = torch.zeros(3, 64)
    if part is not None:
        bias[part] = 0.5
    for index in range(2):
        state[f'blocks.{index}.attn.qkv.bias'] = bias.flatten()
    path = tmp_path / 'dino.pth'
    torch.save(state, path)
    if part in (0, 2):
        with pytest.raises(ConfigError, match='have no bias, but theirs do'):
            TimmTeacher(DINOV3, str(path), **arguments)
        return
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(
        TimmTeacher(DINOV3, str(path), **arguments)(images), expected(images)
    )


def test_compiled_weights(tmp_path: Path) -> None:
    state = {'module._orig_mod.blocks.0._orig_mod.w': torch.ones(1)}
    torch.save(state, tmp_path / 'a.pth')
    assert list(read_state_dict(str(tmp_path / 'a.pth'))) == ['blocks.0.w']


def test_rectangles_have_no_circle() -> None:
    """Each of two messages asked for what the other refused."""
    teacher = PixelTeacher()
    teacher.fixed_grid = (4, 4)
    with pytest.raises(ConfigError, match='64x96 px have another shape'):
        teacher.grid(64, 96)
    assert teacher.grid(64, 64) == (4, 4)
    with pytest.raises(ConfigError, match='set `teacher\\.input_size` to'):
        teacher.grid(128, 128)


def test_advice_for_rectangles_works(tmp_path: Path) -> None:
    state = beit_state(4, 4, shared=True)
    path = str(tmp_path / 'beit.pth')
    torch.save(state, path)
    arguments = timm_args(use_rel_pos_bias=False, use_shared_rel_pos_bias=True)

    def build(size: int | tuple[int, int]) -> TimmTeacher:
        return TimmTeacher(BEIT, path, dict(arguments, img_size=size))

    with pytest.raises(
        ConfigError,
        match=r'crop such a shape, build it for them by '
        r'`teacher\.model_args\.img_size=\(32, 48\)`',
    ):
        build(32)(torch.zeros(1, 3, 32, 48))
    assert build(32)(torch.zeros(1, 3, 32, 32)).size(1) == 4 * 4
    assert build((32, 48))(torch.zeros(1, 3, 32, 48)).size(1) == 4 * 6
    other = MIMTeacher(
        dict(
            type='BEiTPretrainViT',
            arch=arch(),
            patch_size=PATCH,
            img_size=32,
        ),
        mean=[127.5] * 3,
        std=[127.5] * 3,
        allow_random=True,
    )
    with pytest.raises(ConfigError, match='crop such a shape, or take a'):
        other(torch.zeros(1, 3, 32, 48))
    assert other(torch.zeros(1, 3, 32, 32)).size(1) == 4 * 4


def test_i_jepa(tmp_path: Path) -> None:
    """Its file has the training state; the averaged encoder teaches."""
    name = 'vit_huge_patch14_gap_224.in1k_ijepa'
    arguments = dict(model_args=dict(SMALL, img_size=28), target_norm='none')
    expected = randomize(TimmTeacher(name, allow_random=True, **arguments))
    state = expected.network.state_dict()
    path = tmp_path / 'ijepa.pth'
    torch.save(
        {
            'encoder': {f'module.{k}': torch.zeros(1) for k in state},
            'predictor': {},
            'target_encoder': {f'module.{k}': x for k, x in state.items()},
            'epoch': 300,
        },
        path,
    )
    teacher = TimmTeacher(name, str(path), **arguments)
    images = torch.randn(1, 3, 28, 42)
    assert torch.equal(teacher(images), expected(images))
