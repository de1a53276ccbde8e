"""Hiera and Swin as teachers, against their own forward pass."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmhgkd.registry import MODELS
from mmhgkd.teachers import TimmTeacher
from mmhgkd.utils import ConfigError

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
HIERA, SWIN = 'hiera_tiny_224.mae', 'swin_tiny_patch4_window7_224'
SMALL = {
    HIERA: dict(embed_dim=8, stages=(1, 2, 2, 2), img_size=(64, 128)),
    SWIN: dict(
        embed_dim=8,
        depths=(1, 2, 2, 2),
        num_heads=(1, 2, 2, 2),
        window_size=2,
        img_size=(64, 128),
    ),
}
NORM: dict[str, dict] = {
    HIERA: {},
    SWIN: dict(mean=MEAN, std=STD),
}
NAMES = [HIERA, SWIN]


def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 64, 128, generator=generator)


def network(name: str) -> Any:
    """The network itself with random weights, none of them zero or one."""
    torch.manual_seed(0)
    found = timm.create_model(name, **SMALL[name], num_classes=5).eval()
    for value in found.parameters():
        value.data.normal_(0, 0.3)
    return found


def saved(model: nn.Module, path: Path, prefix: str = '') -> str:
    state = {
        prefix + key: value
        for key, value in model.state_dict().items()
        if not key.startswith('head.fc')
    }
    torch.save({'model': state}, path)
    return str(path)


def build(name: str, path: str | None = None, **changes: Any) -> TimmTeacher:
    arguments = dict(
        model_name=name,
        checkpoint=path,
        model_args=SMALL[name],
        target_norm='none',
        allow_random=path is None,
        **NORM[name],
    )
    return TimmTeacher(**{**arguments, **changes})


def own_maps(model: Any, x: Tensor) -> dict[tuple[int, int], Tensor]:
    """What the forward pass computes at each block, ``(B, h, w, C)``."""
    found = {}
    hooks = []

    def keep(key: tuple[int, int]) -> Any:
        return lambda module, args, output: found.update({key: output})

    if hasattr(model, 'layers'):
        for index, stage in enumerate(model.layers):
            for number, block in enumerate(stage.blocks):
                hooks.append(
                    block.register_forward_hook(keep((index, number)))
                )
    else:
        starts = [0, *(end + 1 for end in model.stage_ends)]
        for number, block in enumerate(model.blocks):
            index = sum(number >= start for start in starts) - 1
            key = (index, number - starts[index])
            hooks.append(block.register_forward_hook(keep(key)))
    model(x)
    for hook in hooks:
        hook.remove()
    if not hasattr(model, 'layers'):
        found = {
            key: windows_to_map(tokens, key[0])
            for key, tokens in found.items()
        }
    return found


def windows_to_map(tokens: Tensor, stage: int) -> Tensor:
    """Hiera's order of tokens, place by place.

    It puts every second row and column first, three times over, with what is
    left of this after the pooling of the stage.
    """
    rows, columns = 16 >> stage, 32 >> stage
    places = torch.arange(rows * columns).view(1, rows, columns)
    for _ in range(3 - stage):
        quarters = [places[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]
        places = torch.stack(quarters, 1).flatten(0, 1)
    order = places.flatten()
    found = torch.empty_like(tokens)
    found[:, order] = tokens
    return found.unflatten(1, (rows, columns))


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_tokens_of_the_stage_of_16_px(tmp_path: Path, name: str) -> None:
    model = network(name)
    teacher = build(name, saved(model, tmp_path / 'a.pth'))
    assert (teacher.patch_size, teacher.embed_dims) == (16, 32)
    assert teacher.grid(64, 128) == (4, 8)
    expected = own_maps(model, images())[2, 1].flatten(1, 2)
    torch.testing.assert_close(teacher(images()), expected)
    # Images of other statistics are brought to the teacher's own.
    mean, std = torch.tensor([0.0, 10.0, 20.0]), torch.tensor([1.0, 2.0, 3.0])
    teacher.set_image_norm(mean, std)
    pixels = images() * torch.tensor(STD).view(3, 1, 1)
    pixels = pixels + torch.tensor(MEAN).view(3, 1, 1)
    other = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(teacher(other), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('layer', [0, (0, 1)])
@torch.no_grad()
def test_blocks_and_other_stages(
    tmp_path: Path, name: str, layer: int | tuple[int, ...]
) -> None:
    model = network(name)
    path = saved(model, tmp_path / 'a.pth')
    maps = own_maps(model, images())
    blocks = [layer] if isinstance(layer, int) else list(layer)
    teacher = build(name, path, layer=layer, stride=8)
    expected = torch.cat([maps[1, block] for block in blocks], -1)
    torch.testing.assert_close(teacher(images()), expected.flatten(1, 2))
    teacher = build(name, path, layer=layer, stride=(32, 16))
    coarse = torch.cat([last(model, maps, block) for block in blocks], -1)
    places = [
        torch.arange(side).div(2, rounding_mode='floor') for side in (4, 8)
    ]
    expected = torch.cat(
        [
            *(maps[2, block] for block in blocks),
            coarse[:, places[0]][:, :, places[1]],
        ],
        -1,
    )
    assert teacher.embed_dims == expected.size(-1)
    torch.testing.assert_close(teacher(images()), expected.flatten(1, 2))


def last(model: Any, maps: dict, block: int) -> Tensor:
    """Of the last stage; the final norm of a Swin is of its last block."""
    tokens = maps[3, block]
    if hasattr(model, 'layers') and block == 1:
        tokens = model.norm(tokens)
    return tokens


@torch.no_grad()
def test_files_of_the_authors(tmp_path: Path) -> None:
    """SimMIM's encoder has a prefix, and merges at the end of a stage."""
    model = network(SWIN)
    expected = build(SWIN, saved(model, tmp_path / 'a.pth'), stride=32)
    state = {'encoder.mask_token': torch.zeros(1, 1, 8)}
    for key, value in model.state_dict().items():
        for index in (1, 2, 3):
            key = key.replace(
                f'layers.{index}.downsample', f'layers.{index - 1}.downsample'
            )
        if not key.startswith('head.'):
            state[f'encoder.{key}'] = value
    state['decoder.0.weight'] = torch.zeros(3)
    torch.save({'model': state}, tmp_path / 'simmim.pth')
    teacher = build(SWIN, str(tmp_path / 'simmim.pth'), stride=32)
    assert torch.equal(teacher(images()), expected(images()))
    model = network(HIERA)
    expected = build(HIERA, saved(model, tmp_path / 'b.pth'))
    state = {
        key: value
        for key, value in model.state_dict().items()
        if not key.startswith('head.')
    }
    for key in (
        'mask_token',
        'encoder_norm.weight',
        'decoder_embed.weight',
        'multi_scale_fusion_heads.0.weight',
    ):
        state[key] = torch.zeros(3)
    torch.save({'model_state': state}, tmp_path / 'hiera.pth')
    teacher = build(HIERA, str(tmp_path / 'hiera.pth'))
    assert torch.equal(teacher(images()), expected(images()))


def test_positions_of_another_size(tmp_path: Path) -> None:
    """Each place of a window is resized over the windows."""
    square = {**SMALL[HIERA], 'img_size': 128}
    model = timm.create_model(HIERA, **square, num_classes=5)
    table = torch.randn(8, 8, 8).repeat(4, 4, 1)
    model.pos_embed.data = table.reshape(1, 32 * 32, 8)
    teacher = build(HIERA, saved(model, tmp_path / 'a.pth'))
    # What repeats in each window, does so still.
    torch.testing.assert_close(
        teacher.network.pos_embed.view(16, 32, 8), table[:16, :32]
    )
    with pytest.raises(ConfigError, match='has 24 positions, no square'):
        model.pos_embed.data = torch.zeros(1, 24, 8)
        build(HIERA, saved(model, tmp_path / 'a.pth'))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(stride=12), r'`teacher.stride` is 12, .* every 4, 8, 16, 32 px'),
        (dict(stride=()), r'`teacher.stride` must name one stride'),
        (dict(stride=(8, 8)), r'`teacher.stride` must name one stride'),
        (dict(layer=2), r'`teacher.layer` is 2, .* has 2 blocks'),
        (dict(input='visible'), r"`teacher.input='visible'` needs a timm Vi"),
        (
            dict(stride=(8, 16), combine='mean'),
            r"'mean'` takes tokens of one width",
        ),
    ],
)
def test_bad_settings(name: str, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, **changes)


def test_names_the_sizes_that_work() -> None:
    for name, size, message in (
        (HIERA, 80, 'multiples of 32, such as 64'),
        (HIERA, (64, 72), 'multiples of 32, such as 64'),
        (SWIN, 72, 'multiples of 32, such as 64, or another `window_size`'),
        (SWIN, (96, 80), 'multiples of 32, such as 96'),
    ):
        arguments = {**SMALL[name], 'img_size': size}
        with pytest.raises(ConfigError, match=message):
            build(name, model_args=arguments)
    # At 64 px a window of 7 does not divide 16 tokens; 112 px work.
    arguments = {**SMALL[SWIN], 'img_size': 64, 'window_size': 7}
    with pytest.raises(ConfigError, match='multiples of 112, such as 112'):
        build(SWIN, model_args=arguments)
    arguments['img_size'] = 112
    teacher = build(SWIN, model_args=arguments)
    with pytest.raises(ConfigError, match='takes images of 112x112 px only'):
        teacher(torch.zeros(1, 3, 224, 224))
    teacher = build(SWIN, model_args=arguments, input_size=112)
    assert teacher(torch.zeros(1, 3, 224, 224)).shape == (1, 49, 32)


def test_stride_is_for_stages() -> None:
    with pytest.raises(ConfigError, match=r'leave it out .* are 16 px apart'):
        TimmTeacher(
            'vit_tiny_patch16_224',
            model_args=dict(depth=1),
            mean=MEAN,
            std=STD,
            stride=16,
            allow_random=True,
        )


@pytest.mark.parametrize('name', NAMES)
def test_teaches(name: str) -> None:
    torch.manual_seed(0)
    model: Any = MODELS.build(
        dict(
            type='mmhgkd.HGKD',
            data_preprocessor=dict(
                type='mmpretrain.SelfSupDataPreprocessor', mean=MEAN, std=STD
            ),
            teacher=dict(
                type='mmhgkd.TimmTeacher',
                model_name=name,
                model_args=dict(SMALL[name], img_size=64),
                allow_random=True,
                **NORM[name],
            ),
            backbone=dict(
                type='mmhgkd.SparseResNet',
                depth=18,
                stem_channels=8,
                base_channels=8,
            ),
            neck=dict(
                type='mmhgkd.UNetNeck',
                in_channels=(8, 16, 32, 64),
                width=32,
                out_channels=32,
            ),
            head=dict(
                type='mmhgkd.DistillationHead',
                feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
            ),
        )
    )
    model.init_weights()
    before = model.backbone.conv1.weight.clone()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = dict(
        inputs=torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        data_samples=[None] * 2,
    )
    losses = model.train_step(data, OptimWrapper(optimizer))
    assert losses['loss_feat'].isfinite()
    assert not torch.equal(model.backbone.conv1.weight, before)
