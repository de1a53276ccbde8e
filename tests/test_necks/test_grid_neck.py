import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmhgkd.masks import RandomUnitMask
from mmhgkd.necks import GridNeck
from mmhgkd.sparse import MaskedFeature

CHANNELS = (4, 6, 8, 10)


def features(channels: tuple[int, ...] = CHANNELS) -> list[MaskedFeature]:
    torch.manual_seed(0)
    mask = RandomUnitMask()(2, 64, 96)
    maps = []
    for index, width in enumerate(channels):
        stride = 4 * 2**index
        x = torch.randn(
            2, width, 64 // stride, 96 // stride, dtype=torch.float64
        )
        maps.append(MaskedFeature(x * mask.visible(stride), mask, stride))
    return maps


def small_neck() -> GridNeck:
    neck = GridNeck(
        CHANNELS,
        out_channels=12,
        width=16,
        kernel_size=3,
        norm_cfg=dict(type='BN'),
    ).double()
    for norm in neck.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return neck


def normalized(neck: GridNeck, index: int, feature: MaskedFeature) -> Tensor:
    visible = feature.mask.visible(feature.stride)[:, 0]
    x = feature.values.permute(0, 2, 3, 1)
    norm = neck.norms[index]
    mean, var = x[visible].mean(0), x[visible].var(0, unbiased=False)
    x = (x - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias
    return x.permute(0, 3, 1, 2)


def as_convolution(neck: GridNeck, index: int, x: Tensor) -> Tensor:
    """The projection as a dense, strided convolution or a pixel shuffle."""
    projection = neck.projections[index]
    layer, merged = projection.layers[-1], projection.merged
    weight = layer.weight.unflatten(1, (merged, merged, -1))
    x = F.conv2d(x, weight.permute(0, 3, 1, 2), layer.bias, merged)
    if projection.split == 1:
        return x
    # Pixel shuffle has the channels first, the projection the places.
    places = x.unflatten(1, (projection.split**2, -1)).transpose(1, 2)
    return F.pixel_shuffle(places.flatten(1, 2), projection.split)


def test_equals_dense_convolutions() -> None:
    neck, inputs = small_neck(), features()
    total = torch.stack(
        [
            as_convolution(neck, index, normalized(neck, index, feature))
            for index, feature in enumerate(inputs)
        ]
    ).sum(0)
    visible = inputs[0].mask.visible(16)
    x = torch.where(visible, total, neck.mask_token[:, None, None])
    for block in neck.blocks:
        y = block.conv_dw(x).permute(0, 2, 3, 1)
        y = F.layer_norm(y, (16,), block.norm.weight, block.norm.bias, 1e-6)
        y = block.mlp.fc2(F.gelu(block.mlp.fc1(y)))
        x = x + y.permute(0, 3, 1, 2)
    x = F.layer_norm(
        x.permute(0, 2, 3, 1), (16,), neck.norm.weight, neck.norm.bias, 1e-6
    )
    expected = neck.to_tokens(x).permute(0, 3, 1, 2)
    actual = neck(inputs)
    assert actual.shape == (2, 12, 4, 6)
    assert torch.allclose(actual, expected, atol=1e-10)
    weight = torch.randn_like(expected)
    names = [name for name, _ in neck.named_parameters()]
    got = torch.autograd.grad((actual * weight).sum(), neck.parameters())
    want = torch.autograd.grad((expected * weight).sum(), neck.parameters())
    for name, left, right in zip(names, got, want, strict=True):
        assert torch.allclose(left, right, atol=1e-9), name


def test_what_is_hidden_changes_nothing() -> None:
    neck, inputs = small_neck(), features()
    expected = neck(inputs)
    for feature in inputs:
        hidden = ~feature.mask.visible(feature.stride)
        feature.values += 100 * hidden
    assert torch.equal(neck(inputs), expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(width=0), 'width'),
        (dict(depth=0), 'depth'),
        (dict(kernel_size=4), 'kernel_size'),
        (dict(out_stride=6), 'every 6 px'),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridNeck(CHANNELS, **options)


def test_features_of_another_backbone() -> None:
    with pytest.raises(ValueError, match=r'neck\.in_channels=\(4, 6\)'):
        small_neck()(features((4, 6)))
