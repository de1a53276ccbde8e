"""Dense networks of timm and mmpretrain that become sparse students."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
import torchvision
from masked_reference import assert_parity, randomize
from mmpretrain.models import RegNet, ResNet, SEResNet, TIMMBackbone
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from mmhgkd.backbones import SparseNetwork, sparsify
from mmhgkd.masks import RandomUnitMask
from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

CONVERTIBLE = [
    'resnet18',
    'resnet26d',
    'seresnet18',
    'mobilenetv3_small_050',
    'efficientnet_lite0',
    'tf_efficientnet_lite0',
    'regnetx_002',
    'regnety_002',
    'convnext_atto',
    'convnextv2_atto',
    'repvgg_a0',
]


def dense_timm(name: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, features_only=True, pretrained=False)


@pytest.mark.parametrize('name', CONVERTIBLE)
def test_timm_network_equals_masked_dense(name: str) -> None:
    reference = randomize(dense_timm(name))
    student = sparsify(copy.deepcopy(reference))
    assert list(student.state_dict()) == list(reference.state_dict())
    mask = RandomUnitMask(seed=5)(2, 64, 64)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    assert_parity(student, reference, images, mask)


@pytest.mark.parametrize('name', ['resnet26d', 'convnextv2_atto'])
def test_without_mask_it_is_the_dense_network(name: str) -> None:
    dense = randomize(dense_timm(name))
    student = sparsify(copy.deepcopy(dense))
    images = torch.randn(2, 3, 80, 72, dtype=torch.float64)
    for training in (True, False):
        student.train(training)
        dense.train(training)
        for x, y in zip(student(images), dense(images), strict=True):
            assert torch.equal(x, y)
    assert isinstance(student, type(dense))
    assert isinstance(student, SparseNetwork)


@pytest.mark.parametrize(
    'network',
    [
        lambda: ResNet(
            18,
            stem_channels=8,
            base_channels=8,
            deep_stem=True,
            avg_down=True,
            out_indices=(0, 1, 2, 3),
        ),
        lambda: SEResNet(
            50,
            stem_channels=8,
            base_channels=4,
            se_ratio=4,
            expansion=4,
            out_indices=(0, 1, 2, 3),
        ),
        lambda: RegNet('regnetx_400mf', out_indices=(0, 1, 2, 3)),
    ],
)
def test_mmpretrain_network_equals_masked_dense(network: Any) -> None:
    reference = randomize(network())
    student = sparsify(copy.deepcopy(reference))
    assert list(student.state_dict()) == list(reference.state_dict())
    # Fewer positions make batch norm too sensitive to rounding.
    mask = RandomUnitMask(seed=5)(2, 96, 96)
    images = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    assert_parity(student, reference, images, mask)


def test_config_of_a_timm_backbone() -> None:
    network = dict(
        type='mmpretrain.TIMMBackbone',
        model_name='mobilenetv3_small_050',
        features_only=True,
        out_indices=(1, 2, 3, 4),
    )
    student = MODELS.build(
        dict(type='SparseNetwork', network=network, backend='packed')
    )
    plain = TIMMBackbone(**{k: v for k, v in network.items() if k != 'type'})
    plain.load_state_dict(student.state_dict(), strict=True)
    assert student.feature_channels == (8, 16, 24, 288)
    assert student.feature_strides == (4, 8, 16, 32)
    features = student(torch.randn(2, 3, 64, 64), RandomUnitMask()(2, 64, 64))
    assert [x.stride for x in features] == [4, 8, 16, 32]


def test_norms_are_synchronized_and_keep_their_activation() -> None:
    network = dense_timm('regnetx_002').eval()
    student = sparsify(copy.deepcopy(network))
    kinds = {type(m) for m in student.modules()}
    assert BatchNormAct2d not in kinds
    assert not any(m.training for m in student.modules())
    images, mask = torch.randn(1, 3, 64, 64), RandomUnitMask()(1, 64, 64)
    for x, y in zip(student(images), network(images), strict=True):
        assert torch.allclose(x, y, atol=1e-5)
    plain = sparsify(network, sync_norm=False)
    assert BatchNormAct2d in {type(m) for m in plain.modules()}
    for x, y in zip(student(images, mask), plain(images, mask), strict=True):
        assert torch.allclose(x.rows(), y.rows(), atol=1e-5)


def saved(network: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


class Functions(nn.Module):
    """A network of operations between its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 2, 2)
        self.second = nn.Conv2d(4, 4, 2, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.gelu(torch.add(self.first(x), 1))
        gate = F.adaptive_avg_pool2d(x, 1).sigmoid()
        y = F.hardswish(self.second(torch.relu(x * gate)))
        return [torch.cat([x, F.relu(x)], dim=1), torch.tanh(y)]


@pytest.mark.parametrize(
    'twin',
    [copy.deepcopy, saved, lambda x: pickle.loads(pickle.dumps(x))],
)
@pytest.mark.parametrize(
    'network',
    [
        lambda: dense_timm('regnety_002'),
        lambda: dense_timm('convnextv2_atto'),
        lambda: RegNet('regnetx_400mf', out_indices=(0, 1, 2, 3)),
        Functions,
    ],
)
def test_copies_and_pickles(
    network: Callable[[], nn.Module],
    twin: Callable[[nn.Module], nn.Module],
) -> None:
    student = sparsify(randomize(network()), backend='masked')
    student.eval()
    other = twin(student)
    assert type(other) is type(student)
    assert other.backend == 'masked' and not other.training
    mask = RandomUnitMask(seed=5)(2, 64, 64)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for x, y in zip(student(images, mask), other(images, mask), strict=True):
        assert torch.equal(x.rows(), y.rows())
    for x, y in zip(student(images), other(images), strict=True):
        assert torch.equal(x, y)
    assert not {id(x) for x in student.parameters()} & {
        id(x) for x in other.parameters()
    }


def run_spawned(rank: int, network: nn.Module, path: str) -> None:
    mask = RandomUnitMask(seed=5)(2, 64, 64)
    torch.save(network(torch.ones(2, 3, 64, 64), mask)[-1].rows(), path)


def test_a_spawned_process_gets_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = sparsify(Toy(nn.BatchNorm2d(4))).eval()
    path = str(tmp_path / 'rows.pt')
    mp.spawn(run_spawned, (student, path))
    mask = RandomUnitMask(seed=5)(2, 64, 64)
    expected = student(torch.ones(2, 3, 64, 64), mask)[-1].rows()
    assert torch.equal(torch.load(path), expected.detach())


@pytest.mark.parametrize(
    ('name', 'layers'),
    [
        (
            'vit_tiny_patch16_224',
            [
                '`model.patch_embed` (PatchEmbed)',
                '`model.blocks.11.attn` (Attention)',
            ],
        ),
        (
            'swin_tiny_patch4_window7_224',
            ['`layers_0.blocks.0.attn` (WindowAttention)'],
        ),
        ('botnet26t_256', ['`stages_3.1.self_attn` (BottleneckAttn)']),
        ('halonet26t', ['`stages_2.1.self_attn` (HaloAttn)']),
        ('resnetblur18', ['`maxpool.1` (BlurPool2d)', 'reflect']),
        ('inception_v3', ['`Conv2d_1a_3x3.conv` (Conv2d)', 'padding']),
    ],
)
def test_layers_without_sparse_form_are_named(
    name: str, layers: list[str]
) -> None:
    network = dense_timm(name)
    kind = type(network)
    with pytest.raises(ConfigError) as error:
        sparsify(network)
    for layer in layers:
        assert layer in str(error.value)
    assert type(network) is kind


class Toy(nn.Module):
    """A network whose last layer is free to choose."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 2, 2)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.stem(x))


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ('last', 'reason'),
    [
        (nn.LPPool2d(2, 3), '`last` .LPPool2d.'),
        (nn.AdaptiveAvgPool2d(1), 'output 0 is no feature map'),
        (nn.AdaptiveAvgPool2d(2), '`last` .AdaptiveAvgPool2d.'),
        (nn.Flatten(), '`last` .Flatten.'),
        (nn.Linear(4, 4), '`last` .Linear.: it expects the channels last'),
        (nn.Conv2d(4, 4, 3), '`last` .Conv2d.'),
        (
            nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect'),
            'padding_mode',
        ),
        (nn.Dropout2d(), '`last` .Dropout2d.'),
        (BatchNormAct2d(4, act_layer=nn.Softmax), '`last` .BatchNormAct2d.'),
        (Branch(), '`last` .Branch.: its forward cannot be recorded'),
    ],
)
def test_refusals(last: nn.Module, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        sparsify(Toy(last))


def test_a_sparse_network_is_refused() -> None:
    student = sparsify(Toy(nn.ReLU()))
    with pytest.raises(ConfigError, match='SparseToy is sparse already'):
        sparsify(student)


def test_one_map_is_a_tuple() -> None:
    student = sparsify(Toy(nn.ReLU()))
    images = torch.randn(1, 3, 32, 32)
    (dense,) = student(images)
    assert torch.equal(dense, student.dense_forward(images))
    (feature,) = student(images, RandomUnitMask(mask_ratio=0)(1, 32, 32))
    assert torch.allclose(feature.dense(), dense, atol=1e-6)


def test_images_need_not_have_three_channels() -> None:
    student = sparsify(
        timm.create_model(
            'mobilenetv3_small_050', features_only=True, in_chans=1
        )
    )
    features = student(torch.randn(1, 1, 64, 64), RandomUnitMask()(1, 64, 64))
    assert features[0].rows().size(1) == 16


class DictNetwork(nn.Module):
    """Returns its maps by name, as the extractors of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.second = nn.Conv2d(4, 6, 3, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.first(x)
        return {'0': x, '1': self.second(x)}


class Listed(nn.Module):
    """The same maps in a list."""

    def __init__(self, network: DictNetwork) -> None:
        super().__init__()
        self.first, self.second = network.first, network.second

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.first(x)
        return [x, self.second(x)]


def test_maps_by_name() -> None:
    network = DictNetwork()
    listed = sparsify(copy.deepcopy(Listed(network)))
    student = sparsify(network)
    assert student.feature_channels == (4, 6)
    images, mask = torch.randn(2, 3, 64, 64), RandomUnitMask()(2, 64, 64)
    for arguments in ((images,), (images, mask)):
        for found, expected in zip(
            student(*arguments), listed(*arguments), strict=True
        ):
            if len(arguments) > 1:
                found, expected = found.rows(), expected.rows()
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_extractor_of_torchvision() -> None:
    """It is a graph, and gives a dict of the maps."""
    torch.manual_seed(0)
    layers = {f'layer{n}': f'c{n}' for n in range(1, 5)}
    network = torchvision.models.resnet18(norm_layer=nn.BatchNorm2d)
    dense = create_feature_extractor(network, layers)
    student = sparsify(copy.deepcopy(dense))
    assert student.feature_channels == (64, 128, 256, 512)
    assert student.feature_strides == (4, 8, 16, 32)
    assert student.state_dict().keys() == dense.state_dict().keys()
    images, mask = torch.randn(2, 3, 64, 64), RandomUnitMask()(2, 64, 64)
    for found, expected in zip(
        student(images), dense(images).values(), strict=True
    ):
        torch.testing.assert_close(found, expected)
    masked = student(images, mask)
    assert [x.rows().size(1) for x in masked] == [64, 128, 256, 512]


def test_maps_of_hooks_are_refused() -> None:
    """A network of timm whose maps the record does not see."""
    with pytest.raises(ConfigError, match='as where hooks collect them'):
        sparsify(dense_timm('xception41'))
