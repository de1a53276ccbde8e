"""Families of CNNs against the masked dense network, and their table.

``python tests/test_backbones/test_families.py`` prints the table of
docs/students.md.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from dense_reference import masked_dense
from masked_reference import randomize
from mmdet.models.backbones import CSPDarknet, CSPNeXt
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from mmhgkd.backbones import sparsify
from mmhgkd.masks import RandomUnitMask
from mmhgkd.utils import ConfigError

PAGE = Path(__file__).parents[2] / 'docs' / 'students.md'
# The smallest network of each module of timm.
CONVERTED = {
    'byobnet': 'test_byobnet',
    'convnext': 'test_convnext',
    'cspnet': 'cs3darknet_focus_s',
    'cspnext': 'cspnext_tiny',
    'densenet': 'densenet121',
    'dla': 'dla46x_c',
    'dpn': 'dpn48b',
    'efficientnet': 'test_efficientnet',
    'fasternet': 'fasternet_t0',
    'fastvit': 'fastvit_t8',
    'focalnet': 'focalnet_tiny_srf',
    'ghostnet': 'ghostnet_050',
    'hardcorenas': 'hardcorenas_b',
    'hgnet': 'hgnetv2_b0',
    'hrnet': 'hrnet_w18_small',
    'inception_next': 'inception_next_atto',
    'lcnetv2': 'lcnetv2_small',
    'mambaout': 'test_mambaout',
    'metaformer': 'poolformerv2_s12',
    'mobilenetv3': 'mobilenetv3_small_050',
    'nfnet': 'test_nfnet',
    'regnet': 'regnetx_002',
    'repghost': 'repghostnet_050',
    'repvit': 'repvit_m1',
    'res2net': 'res2next50',
    'resnest': 'resnest14d',
    'resnet': 'test_resnet',
    'resnetv2': 'resnetv2_18',
    'rexnet': 'rexnet_100',
    'selecsls': 'selecsls42',
    'senet': 'legacy_seresnet18',
    'sknet': 'skresnet18',
    'starnet': 'starnet_s050',
    'vgg': 'vgg11',
    'vovnet': 'ese_vovnet19b_slim_dw',
    'xception_aligned': 'xception41p',
}
# Their maps are those of all inner layers, which timm's getter returns.
GETTER = ('mambaout', 'xception_aligned', 'inception_v4', 'nasnet')
ATTENTION = 'attention mixes all positions'
UNPADDED = 'windows without padding: positions belong to no unit'
# Network, what the refusal says, and why.
REFUSED = {
    'convmixer': ('convmixer_768_32', 'stride 7', 'one map of stride 7 or 14'),
    'cpubone': ('cpubone_nano', 'ConvAttention', ATTENTION),
    'csatv2': ('csatv2', 'Dct', 'cosine transform of blocks of pixels'),
    'edgenext': ('edgenext_xx_small', 'CrossCovarianceAttn', ATTENTION),
    'efficientvim': ('efficientvim_m1', 'HSMSSD', ATTENTION),
    'efficientvit_mit': ('efficientvit_b0', 'LiteMLA', ATTENTION),
    'efficientvit_msra': ('efficientvit_m0', 'WindowAttention', ATTENTION),
    'iformer': ('iformer_t', 'SHMA', ATTENTION),
    'inception_resnet_v2': ('inception_resnet_v2', 'whole number', UNPADDED),
    'inception_v3': ('inception_v3', 'whole number', UNPADDED),
    'inception_v4': ('inception_v4', 'whole number', UNPADDED),
    'lowformer': ('lowformer_b0', 'ConvAttention', ATTENTION),
    'mobilenetv5': ('mobilenetv5_base', 'MultiQueryAttention2d', ATTENTION),
    'nasnet': ('nasnetalarge', 'whole number', UNPADDED),
    'pnasnet': ('pnasnet5large', 'whole number', UNPADDED),
    'shvit': ('shvit_s1', 'SHSA', ATTENTION),
    'swiftformer': ('swiftformer_xs', 'AdditiveAttention', ATTENTION),
    'tresnet': ('tresnet_m', 'SpaceToDepth', 'reflected borders of blurs'),
    'visformer': ('visformer_tiny', 'Attention', ATTENTION),
    'xception': ('legacy_xception', 'whole number', UNPADDED),
}
HOOKED = ('nasnet', 'pnasnet', 'xception', 'visformer', 'mobilenetv5')
LARGE = ('mobilenetv5', 'nasnet', 'pnasnet', 'inception_resnet_v2')


def create(family: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {}
    if family in (*GETTER, *HOOKED):
        options['feature_cls'] = 'getter'
    return timm.create_model(
        name, features_only=True, pretrained=False, **options
    )


def assert_parity(network: nn.Module) -> None:
    """Maps and gradients of both backends equal those of masked dense."""
    reference = randomize(network)
    for module in reference.modules():
        if hasattr(module, 'drop_prob'):
            module.drop_prob = 0.0
    student = sparsify(copy.deepcopy(reference))
    side = 2 * max(student.feature_strides)
    mask = RandomUnitMask(unit=side // 2, seed=5)(2, side, side)
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    expected = masked_dense(reference, images, mask)
    weights = [torch.randn_like(x) / x.detach().std() for x in expected]

    def gradients(network: nn.Module, maps: list[Any]) -> list[Any]:
        total = sum((x * w).sum() for x, w in zip(maps, weights, strict=True))
        return torch.autograd.grad(
            total, list(network.parameters()), allow_unused=True
        )

    truth = gradients(reference, expected)
    largest = max(x.abs().max() for x in truth if x is not None)
    for backend in ('masked', 'packed'):
        student.backend = backend
        maps = [x.dense() for x in student(images, mask)]
        for x, y in zip(maps, expected, strict=True):
            assert (x - y).abs().max() <= 1e-10 * y.abs().max()
        for x, y in zip(gradients(student, maps), truth, strict=True):
            assert (x is None) == (y is None)
            if x is not None:
                # Some are zero but for rounding, as before a norm.
                scale = max(y.abs().max(), 1e-4 * largest)
                assert (x - y).abs().max() <= 1e-9 * scale


@pytest.mark.parametrize('family', CONVERTED)
def test_family_equals_masked_dense(family: str) -> None:
    assert_parity(create(family, CONVERTED[family]))


@pytest.mark.parametrize('family', [x for x in REFUSED if x not in LARGE])
def test_family_is_refused_by_name(family: str) -> None:
    name, text, _ = REFUSED[family]
    with pytest.raises(ConfigError, match=text):
        sparsify(create(family, name))


@pytest.mark.parametrize('network', [CSPDarknet, CSPNeXt])
def test_backbone_of_mmdet_equals_masked_dense(network: Any) -> None:
    torch.manual_seed(0)
    assert_parity(
        network(
            deepen_factor=0.167, widen_factor=0.125, out_indices=(1, 2, 3, 4)
        )
    )


@pytest.mark.parametrize(
    ('name', 'layer'),
    [
        ('densenet121', 'features.norm5'),
        ('googlenet', 'inception5b'),
        ('mnasnet0_5', 'layers.16'),
        ('shufflenet_v2_x0_5', 'conv5'),
        ('vgg11_bn', 'features.28'),
    ],
)
def test_network_of_torchvision_equals_masked_dense(
    name: str, layer: str
) -> None:
    torch.manual_seed(0)
    options = {}
    if name == 'googlenet':
        options = dict(aux_logits=False, init_weights=False)
    network = torchvision.models.get_model(name, weights=None, **options)
    for module in network.modules():
        if hasattr(module, 'p'):  # stochastic depth
            module.p = 0.0
    assert_parity(create_feature_extractor(network, {layer: 'map'}))


def test_students_go_on_from_given_weights() -> None:
    given = create('resnest', 'resnest14d')
    student = sparsify(create('resnest', 'resnest14d'))
    for parameter in given.parameters():
        nn.init.normal_(parameter, std=0.1)
    student.load_state_dict(given.state_dict(), strict=True)
    given.train(False)
    student.train(False)
    images = torch.randn(1, 3, 64, 64)
    full = RandomUnitMask(mask_ratio=0)(1, 64, 64)
    for x, y in zip(student(images, full), given(images), strict=True):
        assert torch.equal(x.dense(), y)
    student(images, RandomUnitMask()(1, 64, 64))[-1].rows().sum().backward()
    assert student.state_dict().keys() == given.state_dict().keys()


def table() -> str:
    rows = [
        '| module of timm | network | student |',
        '|---|---|---|',
        *(f'| {x} | `{name}` | yes |' for x, name in CONVERTED.items()),
        *(
            f'| {x} | `{name}` | no: {why} |'
            for x, (name, _, why) in REFUSED.items()
        ),
    ]
    return '\n'.join(rows)


def test_the_table_is_up_to_date() -> None:
    assert table() in PAGE.read_text(encoding='utf-8')


if __name__ == '__main__':
    print(table())
