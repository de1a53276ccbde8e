import pytest
import torch
from torch import Tensor, nn

from mmhgkd.masks import RandomUnitMask
from mmhgkd.necks import UNetNeck
from mmhgkd.necks.densify import Densify
from mmhgkd.sparse import MaskedFeature

CHANNELS = (4, 6, 8, 10)


def features(dtype: torch.dtype = torch.float64) -> tuple[MaskedFeature, ...]:
    torch.manual_seed(0)
    mask = RandomUnitMask()(2, 64, 96)
    maps = []
    for index, channels in enumerate(CHANNELS):
        stride = 4 * 2**index
        x = torch.randn(2, channels, 64 // stride, 96 // stride, dtype=dtype)
        maps.append(MaskedFeature(x * mask.visible(stride), mask, stride))
    return tuple(maps)


def naive_densify(module: Densify, feature: MaskedFeature) -> Tensor:
    """Loop over positions: normalize what is visible, fill in the token."""
    visible = feature.mask.visible(feature.stride)[:, 0]
    x = feature.values.permute(0, 2, 3, 1)
    mean, var = x[visible].mean(0), x[visible].var(0, unbiased=False)
    filled = torch.empty_like(x)
    for image in range(x.size(0)):
        for row in range(x.size(1)):
            for column in range(x.size(2)):
                if visible[image, row, column]:
                    value = (x[image, row, column] - mean) / (
                        var + module.norm.eps
                    ).sqrt()
                    value = value * module.norm.weight + module.norm.bias
                else:
                    value = module.mask_token
                filled[image, row, column] = value
    return module.projection(filled.permute(0, 3, 1, 2))


@pytest.mark.parametrize('index', [0, 3])
def test_densify_equals_naive_loop(index: int) -> None:
    feature = features()[index]
    module = Densify(CHANNELS[index], 5, 3, dict(type='BN')).double()
    nn.init.normal_(module.norm.weight)
    nn.init.normal_(module.norm.bias)
    actual, expected = module(feature), naive_densify(module, feature)
    assert torch.allclose(actual, expected, atol=1e-12)
    weight = torch.randn_like(expected)
    names = [name for name, _ in module.named_parameters()]
    got = torch.autograd.grad((actual * weight).sum(), module.parameters())
    want = torch.autograd.grad((expected * weight).sum(), module.parameters())
    for name, x, y in zip(names, got, want, strict=True):
        assert torch.allclose(x, y, atol=1e-10), name


def test_neck_adds_every_scale() -> None:
    neck = UNetNeck(
        CHANNELS, out_channels=12, width=16, norm_cfg=dict(type='BN')
    ).double()
    inputs = features()
    x = naive_densify(neck.densify[0], inputs[3])
    for step in range(3):
        x = neck.blocks[step](x) + naive_densify(
            neck.densify[step + 1], inputs[2 - step]
        )
    expected = neck.to_tokens(x)
    assert expected.shape == (2, 12, 4, 6)
    assert torch.allclose(neck(inputs), expected, atol=1e-9)


def test_every_parameter_learns() -> None:
    neck = UNetNeck(CHANNELS, out_channels=12, width=16, depth=2).double()
    neck(features()).square().sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ('stride', 'shape'), [(4, (16, 24)), (8, (8, 12)), (32, (2, 3))]
)
def test_output_stride(stride: int, shape: tuple[int, int]) -> None:
    neck = UNetNeck(
        CHANNELS, out_channels=12, out_stride=stride, width=16
    ).double()
    assert neck(features()).shape[2:] == shape


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(width=20), 'width'),
        (dict(out_stride=6), 'out_stride'),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetNeck(CHANNELS, **options)
