"""Layers on sparse features against dense layers and loops over rows."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import Conv2dAdaptivePadding, HSigmoid, HSwish, Swish
from mmpretrain.models.utils.norm import LayerNorm2d
from timm import layers as timm_layers
from torch import Tensor, nn

from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse import MaskedFeature, PackedFeature, SparseFeature
from mmhgkd.sparse.layers import apply_layer
from mmhgkd.sparse.sparse_feature import NoSparseForm

CHANNELS = 6


@pytest.fixture(params=[MaskedFeature, PackedFeature])
def feature(
    request: pytest.FixtureRequest, device: torch.device
) -> Iterator[SparseFeature]:
    """A feature on the device on which the test makes its layers."""
    torch.manual_seed(0)
    mask = RandomUnitMask(8, seed=1)(3, 16, 24, device)
    with device:
        maps = torch.randn(3, CHANNELS, 16, 24, dtype=torch.float64)
        yield request.param.from_images(maps, mask)


def seen(feature: SparseFeature, maps: Tensor) -> Tensor:
    units = feature.mask.visible(feature.mask.unit).double()
    return F.interpolate(units, maps.shape[2:])


def check(feature: SparseFeature, module: nn.Module, expected: Tensor) -> None:
    """Compare values and gradients; masked positions must be zero."""
    actual = apply_layer(feature, module).dense()
    expected = expected * seen(feature, expected)
    assert torch.allclose(actual, expected, rtol=0, atol=1e-10)
    parameters = list(module.parameters())
    if parameters:
        weight = torch.randn_like(actual)
        for x, y in zip(
            torch.autograd.grad((actual * weight).sum(), parameters),
            torch.autograd.grad((expected * weight).sum(), parameters),
            strict=True,
        ):
            assert torch.allclose(x, y, rtol=0, atol=1e-10)


def randomize(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.to(torch.get_default_device(), torch.float64)


def position_norm(module: nn.LayerNorm, maps: Tensor) -> Tensor:
    mean = maps.mean(1, keepdim=True)
    var = (maps - mean).square().mean(1, keepdim=True)
    shape = (1, -1, 1, 1)
    return (maps - mean) / (var + module.eps).sqrt() * module.weight.view(
        shape
    ) + module.bias.view(shape)


@pytest.mark.parametrize(
    'module',
    [
        nn.LayerNorm(CHANNELS),
        LayerNorm2d(CHANNELS, eps=1e-3),
        timm_layers.LayerNorm(CHANNELS),
        timm_layers.LayerNorm2d(CHANNELS),
    ],
)
def test_layer_norm(feature: SparseFeature, module: nn.LayerNorm) -> None:
    randomize(module)
    check(feature, module, position_norm(module, feature.dense()))


def test_layer_norm_with_activation(feature: SparseFeature) -> None:
    module = randomize(timm_layers.LayerNormAct2d(CHANNELS, act_layer=nn.GELU))
    expected = F.gelu(position_norm(module, feature.dense()))
    check(feature, module, expected)


def test_group_norm_is_over_what_an_image_shows(
    feature: SparseFeature,
) -> None:
    module = randomize(nn.GroupNorm(2, CHANNELS))
    maps = feature.dense()
    expected = torch.zeros_like(maps)
    half = CHANNELS // 2
    for image, shown in enumerate(seen(feature, maps)[:, 0].bool()):
        for first in (0, half):
            values = maps[image, first : first + half][:, shown]
            values = (values - values.mean()) / (
                values.var(unbiased=False) + module.eps
            ).sqrt()
            expected[image, first : first + half, shown] = values
    expected = expected * module.weight.view(1, -1, 1, 1)
    check(feature, module, expected + module.bias.view(1, -1, 1, 1))


@pytest.mark.parametrize('convert', [False, True])
def test_batch_norm_keeps_its_activation(
    feature: SparseFeature, convert: bool
) -> None:
    module = randomize(
        timm_layers.BatchNormAct2d(CHANNELS, act_layer=nn.Sigmoid)
    )
    if convert:
        module = timm_layers.convert_sync_batchnorm(module)
    maps = feature.dense()
    rows = maps.permute(0, 2, 3, 1)[seen(feature, maps)[:, 0].bool()]
    shape = (1, -1, 1, 1)
    y = maps - rows.mean(0).view(shape)
    y = y / (rows.var(0, unbiased=False) + module.eps).sqrt().view(shape)
    y = y * module.weight.view(shape) + module.bias.view(shape)
    check(feature, module, y.sigmoid())


def test_linear_is_a_pointwise_convolution(feature: SparseFeature) -> None:
    module = nn.Linear(CHANNELS, 5).double()
    expected = F.conv2d(
        feature.dense(), module.weight[..., None, None], module.bias
    )
    check(feature, module, expected)


@pytest.mark.parametrize(
    'module',
    [
        nn.ReLU(),
        nn.ReLU6(),
        nn.GELU(),
        nn.SiLU(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Sigmoid(),
        nn.LeakyReLU(0.3),
        nn.Softplus(),
        nn.PReLU(CHANNELS).double(),
        HSigmoid(),
        HSwish(),
        Swish(),
        timm_layers.HardSwish(),
        timm_layers.Swish(),
    ],
)
def test_activation_of_zero_stays_invisible(
    feature: SparseFeature, module: nn.Module
) -> None:
    module.to(torch.get_default_device())
    expected = module(3 * feature.dense())
    check(feature.map(lambda x: 3 * x), module, expected)


@pytest.mark.parametrize(
    ('kernel', 'stride'), [(3, 1), (3, 2), (7, 1), (5, 2), (2, 2), (4, 4)]
)
def test_depthwise_convolution(
    feature: SparseFeature, kernel: int, stride: int
) -> None:
    padding = 0 if kernel == stride else kernel // 2
    module = nn.Conv2d(
        CHANNELS, CHANNELS, kernel, stride, padding, groups=CHANNELS
    ).double()
    check(feature, module, module(feature.dense()))


@pytest.mark.parametrize(
    'kind', [Conv2dAdaptivePadding, timm_layers.Conv2dSame]
)
@pytest.mark.parametrize(
    ('kernel', 'stride', 'groups'),
    [(3, 1, 1), (3, 2, 1), (5, 2, CHANNELS), (1, 2, 1), (4, 1, 2), (3, 4, 1)],
)
def test_same_padding(
    feature: SparseFeature,
    kind: type[nn.Conv2d],
    kernel: int,
    stride: int,
    groups: int,
) -> None:
    module = kind(CHANNELS, CHANNELS, kernel, stride, groups=groups).double()
    check(feature, module, module(feature.dense()))


def test_conv_module(feature: SparseFeature) -> None:
    module = ConvModule(
        CHANNELS,
        4,
        3,
        padding=1,
        norm_cfg=dict(type='mmpretrain.LN2d'),
        act_cfg=dict(type='GELU'),
    ).double()
    randomize(module)
    maps = module.conv(feature.dense())
    check(feature, module, F.gelu(position_norm(module.norm, maps)))
    module = ConvModule(
        CHANNELS, 4, 1, order=('act', 'conv', 'norm'), inplace=False
    ).double()
    check(feature, module, module.conv(feature.dense().relu()))


def test_drop_path_drops_whole_images(feature: SparseFeature) -> None:
    for scale, kept in ((True, 2.0), (False, 1.0)):
        module = timm_layers.DropPath(0.5, scale_by_keep=scale)
        torch.manual_seed(0)
        ratio = apply_layer(feature, module).dense().sum((1, 2, 3))
        ratio = ratio / feature.dense().sum((1, 2, 3))
        assert set(ratio.round(decimals=9).tolist()) == {0.0, kept}
        module.eval()
        assert apply_layer(feature, module) is feature


def test_image_statistics_and_factors(feature: SparseFeature) -> None:
    maps = feature.dense()
    factor = torch.randn(3, CHANNELS, dtype=torch.float64)
    for index, (image, where) in enumerate(
        zip(maps, seen(feature, maps), strict=True)
    ):
        rows = image[:, where[0].bool()].t()
        mean, norm = rows.sum(0) / len(rows), rows.square().sum(0).sqrt()
        assert torch.allclose(feature.image_mean()[index], mean)
        assert torch.allclose(feature.image_norm()[index], norm)
    assert torch.allclose(
        feature.scale_images(factor).dense(), maps * factor[..., None, None]
    )
    assert torch.allclose(
        feature.scale_images(factor[:, 0]).dense(),
        maps * factor[:, :1, None, None],
    )


def test_factors_keep_the_mean_in_half_precision(
    feature: SparseFeature,
) -> None:
    ones = feature.map(lambda x: torch.rand_like(x) + 1)
    feature = ones.map(torch.Tensor.bfloat16)
    residual = feature.map(torch.zeros_like)
    for added in (None, residual):
        out = feature.scale_images(torch.full((3,), 1 / 0.95), added).rows()
        assert out.dtype == torch.bfloat16
        # In bfloat16 the factor would be 1.0547.
        mean = out.double().mean() / feature.rows().double().mean()
        assert abs(mean - 1 / 0.95) < 2e-4
        kept = torch.tensor([True, False, True])
        out = feature.scale_images(kept, added, 1 / 0.95)
        assert out.rows().dtype == torch.bfloat16
        first, second, third = out.by_image().double()
        assert not second.any()
        for image, found in ((0, first), (2, third)):
            mean = found.mean() / feature.by_image()[image].double().mean()
            assert abs(mean - 1 / 0.95) < 5e-4


def test_concatenate(feature: SparseFeature) -> None:
    other = feature.map(torch.exp)
    expected = torch.cat([feature.dense(), other.dense(), feature.dense()], 1)
    actual = feature.concatenate([other, feature]).dense()
    assert torch.equal(actual, expected)


class ScaledConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


class NamedConv(nn.Conv2d):
    pass


def test_a_subclass_with_its_own_forward_is_another_layer(
    feature: SparseFeature,
) -> None:
    with pytest.raises(NoSparseForm, match='ScaledConv has no sparse form'):
        apply_layer(feature, ScaledConv(CHANNELS, 4, 1))
    module = NamedConv(CHANNELS, 4, 1).double()
    check(feature, module, module(feature.dense()))


@pytest.mark.parametrize(
    'module',
    [
        nn.LayerNorm((16, 24)),
        nn.AdaptiveAvgPool2d(1),
        ConvModule(CHANNELS, 4, 3, padding=1, padding_mode='reflect'),
    ],
)
def test_layers_without_sparse_form(
    feature: SparseFeature, module: nn.Module
) -> None:
    with pytest.raises(NoSparseForm, match='no sparse form'):
        apply_layer(feature, module)
