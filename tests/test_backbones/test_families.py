"""Families of CNNs against the masked dense network, and their table.

``python tests/test_backbones/test_families.py`` prints the tables of
docs/students.md.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from dense_reference import DoubleOnly, masked_dense
from masked_reference import randomize
from mmdet.models.backbones import CSPDarknet, CSPNeXt
from torch import nn

from mmhgkd.backbones import TorchvisionBackbone, sparsify
from mmhgkd.masks import RandomUnitMask
from mmhgkd.utils import ConfigError

PAGE = Path(__file__).parents[2] / 'docs' / 'students.md'
# The smallest network of each module of timm.
CONVERTED = {
    'byobnet': 'test_byobnet',
    'convmixer': 'convmixer_768_32',
    'convnext': 'test_convnext',
    'cpubone': 'cpubone_nano',
    'cspnet': 'cs3darknet_focus_s',
    'cspnext': 'cspnext_tiny',
    'densenet': 'densenet121',
    'dla': 'dla46x_c',
    'dpn': 'dpn48b',
    'edgenext': 'edgenext_xx_small',
    'efficientnet': 'test_efficientnet',
    'efficientvim': 'efficientvim_m1',
    'efficientvit_mit': 'efficientvit_b0',
    'fasternet': 'fasternet_t0',
    'fastvit': 'fastvit_t8',
    'focalnet': 'focalnet_tiny_srf',
    'ghostnet': 'ghostnet_050',
    'hardcorenas': 'hardcorenas_b',
    'hgnet': 'hgnetv2_b0',
    'hrnet': 'hrnet_w18_small',
    'iformer': 'iformer_t',
    'inception_next': 'inception_next_atto',
    'lcnetv2': 'lcnetv2_small',
    'lowformer': 'lowformer_b0',
    'mambaout': 'test_mambaout',
    'metaformer': 'poolformerv2_s12',
    'mobilenetv3': 'mobilenetv3_small_050',
    'mobilenetv5': 'mobilenetv5_base',
    'nfnet': 'test_nfnet',
    'rdnet': 'rdnet_tiny',
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
    'shvit': 'shvit_s1',
    'sknet': 'skresnet18',
    'starnet': 'starnet_s050',
    'swiftformer': 'swiftformer_xs',
    'vgg': 'vgg11',
    'visformer': 'visformer_tiny',
    'vovnet': 'ese_vovnet19b_slim_dw',
    'xception_aligned': 'xception41p',
}
# They mix all positions, which the reference tells by their number.
ATTENTION = (
    'cpubone',
    'edgenext',
    'efficientvim',
    'efficientvit_mit',
    'iformer',
    'lowformer',
    'mobilenetv5',
    'shvit',
    'swiftformer',
    'visformer',
)
# Their maps are those of all inner layers, which timm's getter returns.
GETTER = ('mambaout', 'xception_aligned', 'inception_v4', 'nasnet')
WINDOWS = 'attention in windows of fixed size, with biases of the position'
UNPADDED = 'windows without padding: positions belong to no unit'
# Network, what the refusal says, and why.
REFUSED = {
    'csatv2': ('csatv2', 'Dct', 'cosine transform of blocks of pixels'),
    'efficientvit_msra': ('efficientvit_m0', 'WindowAttention', WINDOWS),
    'inception_resnet_v2': ('inception_resnet_v2', 'whole number', UNPADDED),
    'inception_v3': ('inception_v3', 'whole number', UNPADDED),
    'inception_v4': ('inception_v4', 'whole number', UNPADDED),
    'nasnet': ('nasnetalarge', 'whole number', UNPADDED),
    'pnasnet': ('pnasnet5large', 'whole number', UNPADDED),
    'tresnet': ('tresnet_m', 'SpaceToDepth', 'reflected borders of blurs'),
    'xception': ('legacy_xception', 'whole number', UNPADDED),
}
# Networks of each module of torchvision.
TORCHVISION = {
    'convnext': ('convnext_tiny',),
    'densenet': ('densenet121',),
    'efficientnet': ('efficientnet_b0', 'efficientnet_v2_s'),
    'googlenet': ('googlenet',),
    'mnasnet': ('mnasnet0_5',),
    'mobilenetv2': ('mobilenet_v2',),
    'mobilenetv3': ('mobilenet_v3_small',),
    'regnet': ('regnet_x_400mf', 'regnet_y_400mf'),
    'resnet': ('resnet18', 'resnext50_32x4d', 'wide_resnet50_2'),
    'shufflenetv2': ('shufflenet_v2_x0_5',),
    'vgg': ('vgg11_bn',),
}
# Network, its layer that the refusal names, and why.
TORCHVISION_REFUSED = {
    'alexnet': (
        'alexnet',
        'model.features.0',
        'a stem of stride 4 that makes 55 positions of 224 px, and pools '
        'without padding: positions belong to no unit',
    ),
    'inception': ('inception_v3', 'model.Conv2d_1a_3x3.conv', UNPADDED),
    'squeezenet': ('squeezenet1_1', 'model.features.0', UNPADDED),
}
# Smaller ones of the networks.
OPTIONS: dict[str, dict[str, Any]] = {
    'convmixer': dict(out_indices=(0, 1)),
    'cpubone': dict(proj_drop_rate=0.0),
    'mobilenetv5': dict(channel_multiplier=0.25),
    'visformer': dict(img_size=(96, 160)),
    'rdnet': dict(growth_rates=[16] * 7, num_blocks_list=[1] * 7),
}
HOOKED = ('nasnet', 'pnasnet', 'xception', 'visformer', 'mobilenetv5')
LARGE = ('nasnet', 'pnasnet', 'inception_resnet_v2')


def create(family: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    options = dict(OPTIONS.get(family, {}))
    if family in (*GETTER, *HOOKED):
        options['feature_cls'] = 'getter'
    network = timm.create_model(
        name, features_only=True, pretrained=False, **options
    )
    if family == 'convmixer':
        del network.model.blocks[2:]
    if family == 'mobilenetv5':
        shorten(network)
    return network


def shorten(network: nn.Module) -> None:
    """One block of a kind in each stage of timm's MobileNetV5."""
    for stage in network.model.blocks:
        del stage[1:-2]


def create_torchvision(name: str) -> nn.Module:
    """A network of torchvision with one or two blocks of a kind a stage."""
    torch.manual_seed(0)
    # A RegNet computes with the widths of its stages.
    with torch.device('cpu' if name.startswith('regnet') else 'meta'):
        network = TorchvisionBackbone(name)
    for stage in list(network.modules()):
        blocks = list(stage.children())[1:]
        if (
            type(stage) is nn.Sequential
            and len({*map(type, blocks)}) == 1
            and not isinstance(blocks[0], nn.Sequential)
            and list(blocks[0].children())
        ):
            del stage[1 if name.startswith('wide') else 2 :]
    network.to_empty(device='cpu')
    for values in network.parameters():
        deviation = values[0].numel() ** -0.5 if values.dim() > 1 else 0.0
        nn.init.normal_(values, float(values.dim() == 1), deviation)
    for name, buffer in network.named_buffers():
        buffer.fill_(0 if 'mean' in name else 1)
    return network


def assert_parity(
    network: nn.Module, across: int = 2, down: int | None = None
) -> None:
    """Maps and gradients of both backends equal those of masked dense.

    Args:
        network (nn.Module): The dense network.
        across (int): Units along the width of the images. A batch norm of
            few positions makes rounding large. Defaults to 2.
        down (int, optional): Units along the height. Defaults to None, which
            means as many.
    """
    reference = randomize(network)
    for module in reference.modules():
        if hasattr(module, 'drop_prob'):
            module.drop_prob = 0.0
    student = sparsify(copy.deepcopy(reference))
    unit = max(student.feature_strides)
    size = ((down or across) * unit, across * unit)
    mask = RandomUnitMask(unit=unit, seed=5)(2, *size)
    assert not torch.equal(*mask.ids)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = masked_dense(reference, images, mask)
    weights = [torch.randn_like(x) / x.detach().std() for x in expected]

    def gradients(network: nn.Module, maps: list[Any]) -> list[Any]:
        total = sum((x * w).sum() for x, w in zip(maps, weights, strict=True))
        trained = [x for x in network.parameters() if x.requires_grad]
        return torch.autograd.grad(total, trained, allow_unused=True)

    truth = gradients(reference, expected)
    largest = max(x.abs().max() for x in truth if x is not None)
    for backend in ('masked', 'packed'):
        student.backend = backend
        with DoubleOnly():
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
    across = 4 if family == 'convmixer' else 2
    sides = (5, 3) if family in ATTENTION else (across, across)
    assert_parity(create(family, CONVERTED[family]), *sides)


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


@pytest.mark.parametrize('name', sum(TORCHVISION.values(), ()))
def test_network_of_torchvision_equals_masked_dense(name: str) -> None:
    network = create_torchvision(name)
    assert_parity(network, across=4 if name.startswith('regnet') else 2)


@pytest.mark.parametrize('family', TORCHVISION_REFUSED)
def test_network_of_torchvision_is_refused_by_name(family: str) -> None:
    name, layer, _ = TORCHVISION_REFUSED[family]
    with pytest.raises(ConfigError, match=rf'{layer}. .Conv2d.'):
        sparsify(TorchvisionBackbone(name))


def test_all_families_of_torchvision() -> None:
    models = torchvision.models
    found = {
        models.get_model_builder(name).__module__.rpartition('.')[2]
        for name in models.list_models(models)
    }
    transformers = {'maxvit', 'swin_transformer', 'vision_transformer'}
    assert found - transformers == {*TORCHVISION, *TORCHVISION_REFUSED}


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
        assert torch.allclose(x.dense(), y, rtol=1e-4, atol=1e-4)
    student(images, RandomUnitMask()(1, 64, 64))[-1].rows().sum().backward()
    assert student.state_dict().keys() == given.state_dict().keys()


def table(
    library: str,
    converted: dict[str, tuple[str, ...]],
    refused: dict[str, tuple[str, str, str]],
) -> str:
    rows = [
        f'| module of {library} | networks | student |',
        '|---|---|---|',
        *(
            f'| {x} | {", ".join(f"`{name}`" for name in names)} | yes |'
            for x, names in converted.items()
        ),
        *(
            f'| {x} | `{name}` | no: {why} |'
            for x, (name, _, why) in refused.items()
        ),
    ]
    return '\n'.join(rows)


def tables() -> list[str]:
    timm_names = {family: (name,) for family, name in CONVERTED.items()}
    return [
        table('torchvision', TORCHVISION, TORCHVISION_REFUSED),
        table('timm', timm_names, REFUSED),
    ]


def test_the_tables_are_up_to_date() -> None:
    text = PAGE.read_text(encoding='utf-8')
    for rows in tables():
        assert rows in text


if __name__ == '__main__':
    print('\n\n'.join(tables()))
