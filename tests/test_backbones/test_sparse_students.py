"""The sparse students against the masked dense mmpretrain networks."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from masked_reference import assert_parity, randomize
from mmpretrain.models import ConvNeXt, EfficientNet, MobileNetV2, MobileNetV3
from torch import nn

from mmhgkd.backbones import (
    SparseConvNeXt,
    SparseEfficientNet,
    SparseMobileNetV2,
    SparseMobileNetV3,
)
from mmhgkd.masks import RandomUnitMask, UnitMask
from mmhgkd.necks import UNetNeck
from mmhgkd.registry import MODELS

TINY = dict(depths=[1, 2, 1, 1], channels=[8, 12, 16, 24])
MAPS = dict(arch=TINY, gap_before_final_norm=False)
V2 = dict(use_grn=True, layer_scale_init_value=0.0)
# Class, dense class, options of the student, options of the dense network.
STUDENTS: dict[str, tuple[Any, Any, dict, dict]] = {
    'convnext': (
        SparseConvNeXt,
        ConvNeXt,
        dict(arch=TINY),
        dict(MAPS, out_indices=(0, 1, 2, 3)),
    ),
    'convnext-conv': (
        SparseConvNeXt,
        ConvNeXt,
        dict(arch=TINY, linear_pw_conv=False, **V2),
        dict(MAPS, linear_pw_conv=False, out_indices=(0, 1, 2, 3), **V2),
    ),
    'convnext-v2': (
        SparseConvNeXt,
        ConvNeXt,
        dict(arch=TINY, **V2),
        dict(MAPS, out_indices=(0, 1, 2, 3), **V2),
    ),
    'mobilenet-v2': (
        SparseMobileNetV2,
        MobileNetV2,
        dict(widen_factor=0.1),
        dict(widen_factor=0.1, out_indices=(1, 2, 4, 7)),
    ),
    'mobilenet-v3': (
        SparseMobileNetV3,
        MobileNetV3,
        dict(arch='small_050'),
        dict(arch='small_050', out_indices=(1, 3, 8, 12)),
    ),
    'efficientnet': (
        SparseEfficientNet,
        EfficientNet,
        dict(arch='b0'),
        dict(arch='b0', out_indices=(2, 3, 4, 6)),
    ),
    'efficientnet-edge': (
        SparseEfficientNet,
        EfficientNet,
        dict(arch='es'),
        dict(arch='es', out_indices=(2, 3, 4, 6)),
    ),
}
Pair = Callable[[str], tuple[nn.Module, nn.Module]]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Builds a student and the dense network, with the same weights."""
    for arch in ('b0', 'es'):
        monkeypatch.setitem(EfficientNet.arch_settings, arch, (0.25, 0.5, 224))

    def pair(name: str) -> tuple[nn.Module, nn.Module]:
        torch.manual_seed(0)
        sparse, dense, options, dense_options = STUDENTS[name]
        student = randomize(sparse(**options))
        network = dense(**dense_options).double()
        network.load_state_dict(student.state_dict(), strict=True)
        return student, network

    return pair


def make_mask(kind: str) -> UnitMask:
    if kind == 'full':
        return RandomUnitMask(mask_ratio=0)(2, 64, 64)
    return RandomUnitMask(seed=5)(2, 64, 96 if kind == 'rectangular' else 64)


@pytest.mark.parametrize('kind', ['random', 'full', 'rectangular', 'eval'])
@pytest.mark.parametrize('name', STUDENTS)
def test_outputs_and_gradients_equal_masked_dense(
    name: str, kind: str, build: Pair, device: torch.device
) -> None:
    student, reference = build(name)
    for network in (student, reference):
        network.to(device)
        network.train(kind != 'eval')
    mask = make_mask(kind)
    mask = mask._replace(ids=mask.ids.to(device))
    images = torch.randn(
        2, 3, mask.rows * 32, mask.columns * 32, dtype=torch.float64
    ).to(device)
    assert_parity(student, reference, images, mask)
    assert student.feature_strides == (4, 8, 16, 32)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('name', STUDENTS)
def test_without_mask_it_is_the_dense_network(
    name: str, training: bool, build: Pair
) -> None:
    student, network = build(name)
    images = torch.randn(2, 3, 72, 80, dtype=torch.float64)
    student.train(training)
    network.train(training)
    for x, y in zip(student(images), network(images), strict=True):
        assert torch.equal(x, y)
    for key, value in network.state_dict().items():
        assert torch.equal(student.state_dict()[key], value), key


@pytest.mark.parametrize(
    ('student', 'dense', 'options'),
    [
        (SparseMobileNetV2, MobileNetV2, {}),
        (SparseMobileNetV3, MobileNetV3, {}),
        (SparseMobileNetV3, MobileNetV3, dict(arch='large')),
        (SparseEfficientNet, EfficientNet, {}),
    ],
)
def test_default_state_dict_is_that_of_mmpretrain(
    student: Any, dense: Any, options: dict
) -> None:
    expected = dense(**options).state_dict()
    actual = student(**options).state_dict()
    assert {k: v.shape for k, v in actual.items()} == {
        k: v.shape for k, v in expected.items()
    }


@pytest.mark.parametrize('name', STUDENTS)
def test_hidden_pixels_do_not_matter(name: str, build: Pair) -> None:
    student, _ = build(name)
    mask = make_mask('random')
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    other = torch.where(mask.visible(1), images, torch.randn_like(images))
    for x, y in zip(student(images, mask), student(other, mask), strict=True):
        assert torch.equal(x.rows(), y.rows())


def test_documented_channels() -> None:
    for network, channels in (
        (SparseConvNeXt(), (96, 192, 384, 768)),
        (SparseMobileNetV2(), (24, 32, 96, 1280)),
        (SparseMobileNetV3(), (16, 24, 48, 576)),
        (SparseMobileNetV3('large'), (24, 40, 112, 960)),
        (SparseEfficientNet(), (24, 40, 112, 1280)),
    ):
        assert network.feature_channels == channels


def test_every_layer_is_trained_through_the_decoder() -> None:
    student = MODELS.build(
        dict(type='SparseMobileNetV3', arch='small_050', backend='packed')
    )
    neck = UNetNeck(student.feature_channels, 8, width=16)
    mask = RandomUnitMask()(2, 64, 64)
    tokens = neck(student(torch.randn(2, 3, 64, 64), mask))
    assert tokens.shape == (2, 8, 4, 4)
    tokens.square().sum().backward()
    assert all(p.grad is not None for p in student.parameters())


def test_drop_path_is_the_same_in_both_backends() -> None:
    student = SparseConvNeXt(TINY, drop_path_rate=0.5).double()
    mask = RandomUnitMask()(8, 64, 64)
    images = torch.randn(8, 3, 64, 64, dtype=torch.float64)
    rows = []
    for backend in ('masked', 'packed'):
        student.backend = backend
        torch.manual_seed(0)
        rows.append(student(images, mask)[-1].rows())
    assert torch.allclose(*rows, rtol=0, atol=1e-10)
    student.eval()
    kept = student(images, mask)[-1].rows()
    assert not torch.allclose(rows[0], kept, atol=1e-8)


def test_a_copy_has_its_own_layers() -> None:
    images, mask = torch.randn(1, 3, 64, 64), RandomUnitMask()(1, 64, 64)
    network = SparseMobileNetV3('small_050')
    network.eval()
    before = network(images, mask)[-1].rows()
    twin = copy.deepcopy(network)
    assert torch.equal(twin(images, mask)[-1].rows(), before)
    with torch.no_grad():
        network.layer0.conv.weight.zero_()
    assert torch.equal(twin(images, mask)[-1].rows(), before)
    assert not torch.equal(network(images, mask)[-1].rows(), before)


def test_it_compiles_without_a_break() -> None:
    torch.manual_seed(0)
    student = randomize(
        SparseConvNeXt(
            dict(depths=[1, 1], channels=[8, 12]),
            backend='packed',
            out_indices=(0, 1),
            **V2,
        )
    )
    mask = make_mask('random')
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)

    def last_rows(images: torch.Tensor, mask: UnitMask) -> torch.Tensor:
        return student(images, mask)[-1].rows()

    compiled = torch.compile(last_rows, fullgraph=True, backend='eager')
    assert torch.allclose(
        compiled(images, mask), last_rows(images, mask), rtol=0, atol=1e-10
    )


def test_bad_options() -> None:
    with pytest.raises(ValueError, match='backend'):
        SparseMobileNetV2(backend='dense')
    with pytest.raises(ValueError, match=r'stages.0.0.*with_cp=False'):
        SparseConvNeXt(TINY, with_cp=True)
