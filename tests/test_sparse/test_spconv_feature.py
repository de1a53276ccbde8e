"""The spconv form against masked dense layers.

It runs on a stand-in for the package, and on the package itself where that is
installed: on CUDA, and without gradients on its build for the CPU.
"""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import spconv_double
import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from torch import Tensor, nn

from mmhgkd.backbones import SparseConvNeXt, SparseResNet, sparsify
from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse import (
    MaskedFeature,
    PackedFeature,
    SparseFeature,
    SpconvFeature,
    spconv_feature,
)
from mmhgkd.sparse.layers import apply_layer
from mmhgkd.sparse.sparse_feature import NoSparseForm
from mmhgkd.utils import ConfigError

# With fewer channels of the masked form, oneDNN writes past its memory in the
# gradient of a strided 1x1 convolution (uxlfoundation/oneDNN#6035).
SMALL = dict(stem_channels=8, base_channels=16)


@pytest.fixture(params=['stand-in', 'cpu', 'cuda'])
def package(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    name = request.param
    if name == 'stand-in':
        use_stand_in(monkeypatch)
    else:
        pytest.importorskip('spconv', reason='spconv is not installed')
        from spconv.cppconstants import CPU_ONLY_BUILD

        if name == 'cuda' and not torch.cuda.is_available():
            pytest.skip('there is no GPU')
        if name == 'cpu' and not CPU_ONLY_BUILD:
            pytest.skip('this build of spconv is for CUDA')
    if name != 'cuda':
        # Past the refusal of the CPU.
        monkeypatch.setattr(
            SpconvFeature,
            'from_images',
            classmethod(PackedFeature.from_images.__func__),
        )
    threads = torch.get_num_threads()
    # More make spconv's results on the CPU random.
    torch.set_num_threads(1)
    clear_caches()
    yield name
    clear_caches()
    torch.set_num_threads(threads)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_stand_in(monkeypatch)
    clear_caches()
    yield
    clear_caches()


def use_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = ModuleType('spconv')
    parent.pytorch = spconv_double  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'spconv', parent)
    monkeypatch.setitem(sys.modules, 'spconv.pytorch', spconv_double)


def clear_caches() -> None:
    spconv_feature._convolution.cache_clear()
    spconv_feature._max_pooling.cache_clear()


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def run(
    name: str, form: type[SparseFeature], module: nn.Module, x: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Outputs of a layer on a stride of 4, and its gradients."""
    device = 'cuda' if name == 'cuda' else 'cpu'
    module.to(device)
    mask = RandomUnitMask(seed=3)(2, 96, 64, device=device)
    # Units of 8x8 positions.
    mask = mask._replace(unit=8)
    x = x.to(device).requires_grad_()
    out = apply_layer(form.from_images(x, mask), module).rows()
    if name == 'cpu':
        return out, []
    weight = torch.arange(out.numel()).cos().view(out.shape).to(out)
    inputs = [x, *module.parameters()]
    return out, list(torch.autograd.grad((out * weight).sum(), inputs))


@pytest.mark.parametrize(
    'layer',
    [
        lambda: nn.Conv2d(3, 5, 3, 1, 1),
        lambda: nn.Conv2d(3, 5, (5, 3), 1, (2, 1), bias=False),
        lambda: nn.Conv2d(3, 5, 7, 2, 3),
        lambda: nn.Conv2d(3, 5, 2, 2),
        lambda: nn.Conv2d(3, 5, 4, 4),
        lambda: nn.Conv2d(3, 5, 1, 1),
        lambda: nn.Conv2d(3, 5, 1, 2),
        lambda: nn.Conv2d(3, 5, 3, 1, 2, dilation=2),
        # Of an output, no input may be visible.
        lambda: nn.Conv2d(3, 5, 2, 1, 4, dilation=8),
        lambda: Conv2dAdaptivePadding(3, 5, 3, 2),
        lambda: nn.MaxPool2d(3, 2, 1),
        lambda: nn.MaxPool2d(3, 1, 1),
        lambda: nn.AvgPool2d(2, 2),
    ],
)
def test_layer_equals_masked_dense(layer: object, package: str) -> None:
    torch.manual_seed(0)
    module = layer()  # type: ignore[operator]
    x = torch.randn(2, 3, 24, 16)
    if package == 'cpu':
        # There spconv's max-pooling starts from zero.
        x = x.abs()
    out, gradients = run(package, SpconvFeature, module, x)
    expected, truth = run(package, MaskedFeature, module, x)
    assert error(out, expected) < 1e-6
    for actual, value in zip(gradients, truth, strict=package != 'cpu'):
        assert error(actual, value) < 1e-5


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('deep', [True, False])
def test_resnet_equals_masked_dense(
    deep: bool, training: bool, package: str
) -> None:
    torch.manual_seed(0)
    net = SparseResNet(18, deep_stem=deep, avg_down=deep, **SMALL)
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.1, 0.3)
    net.train(training)
    device = 'cuda' if package == 'cuda' else 'cpu'
    net.to(device)
    mask = RandomUnitMask(seed=3)(2, 96, 64, device=device)
    images = torch.randn(2, 3, 96, 64, device=device)
    results = []
    for backend in ('masked', 'spconv'):
        net.backend = backend
        net.zero_grad()
        features = net(images, mask)
        assert [x.stride for x in features] == [4, 8, 16, 32]
        grad = torch.zeros(())
        # Batch statistics make gradients too sensitive to rounding.
        if package != 'cpu' and not training:
            total = sum(x.rows().square().mean() for x in features)
            total.backward()
            grad = next(net.parameters()).grad
        results.append([x.rows() for x in features] + [grad])
    assert isinstance(features[0], SpconvFeature)
    # One for each stage and, if deep, one for the stem.
    pairs = features[0].geometry.cached(('spconv pairs',), dict)
    assert len(pairs) == 4 + deep
    for expected, actual in zip(*results, strict=True):
        assert expected.shape == actual.shape
        assert torch.allclose(
            actual, expected, rtol=0, atol=1e-4 * float(expected.abs().max())
        )


def test_bfloat16_is_computed_in_float32(package: str) -> None:
    if package == 'cuda':
        pytest.skip('the CPU and CUDA take the same path')
    torch.manual_seed(0)
    conv, pool = nn.Conv2d(3, 5, 3, 1, 1), nn.MaxPool2d(3, 2, 1)
    mask = RandomUnitMask(seed=3)(2, 96, 64)._replace(unit=8)
    x = torch.randn(2, 3, 24, 16).abs()
    feature = SpconvFeature.from_images(x, mask)
    with torch.no_grad():
        with torch.autocast('cpu', torch.bfloat16):
            half = apply_layer(feature, conv).rows()
            # As in PyTorch, autocast is no matter of pooling.
            assert apply_layer(feature, pool).rows().dtype == torch.float32
        assert half.dtype == torch.bfloat16
        rounded = nn.Conv2d(3, 5, 3, 1, 1)
        rounded.load_state_dict(
            {k: v.bfloat16() for k, v in conv.state_dict().items()}
        )
        rounded.bias.zero_()
        single = SpconvFeature.from_images(x.bfloat16().float(), mask)
        exact = apply_layer(single, rounded).rows().bfloat16()
        assert torch.equal(half, exact + conv.bias.bfloat16())
        pooled = apply_layer(
            SpconvFeature.from_images(x.bfloat16(), mask), pool
        )
        exact = apply_layer(single, pool).rows().bfloat16()
        assert torch.equal(pooled.rows(), exact)
    with pytest.raises(NoSparseForm, match=r'no torch.float64.*packed'):
        apply_layer(SpconvFeature.from_images(x.double(), mask), conv.double())


def test_compiled_student_leaves_spconv_as_it_is(
    stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SpconvFeature,
        'from_images',
        classmethod(PackedFeature.from_images.__func__),
    )
    conv = nn.Conv2d(3, 5, 3, 2, 1)
    mask = RandomUnitMask()(2, 64, 64)
    images = torch.randn(2, 3, 64, 64)

    def forward(images: Tensor) -> Tensor:
        feature = SpconvFeature.from_images(images * 2, mask)
        return apply_layer(feature, nn.Sequential(conv, nn.ReLU())).rows()

    compiled = torch.compile(forward, backend='eager')
    assert torch.allclose(compiled(images), forward(images), atol=1e-6)


def test_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"GPU.*`cpu`.*backend='packed'"):
        SpconvFeature.from_images(
            torch.zeros(1, 3, 32, 32), RandomUnitMask()(1, 32, 32)
        )


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'spconv', None)
    monkeypatch.delitem(sys.modules, 'spconv.pytorch', raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'mmhgkd\[spconv\]'"):
        SparseResNet(18, backend='spconv')
    network = nn.Sequential(nn.Conv2d(3, 4, 2, 2))
    with pytest.raises(ConfigError, match=r"pip install 'mmhgkd\[spconv\]'"):
        sparsify(network, backend='spconv')
    assert type(network) is nn.Sequential


def test_layers_that_spconv_has_not_are_named(stand_in: None) -> None:
    with pytest.raises(ConfigError) as info:
        SparseConvNeXt(dict(depths=[1], channels=[8]), 'spconv', (0,))
    assert '`stages.0.0.depthwise_conv`: Conv2d(8, 8' in str(info.value)
    assert "`backend='packed'`" in str(info.value)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 2, dilation=2))
    with pytest.raises(ConfigError, match=r'`0`.*a stride and a dilation'):
        sparsify(network, backend='spconv')
    student = sparsify(nn.Sequential(nn.Conv2d(3, 4, 2, 2)), 'spconv')
    assert student.backend == 'spconv'
    mask = RandomUnitMask()(1, 64, 64)
    packed = PackedFeature.from_images(torch.zeros(1, 4, 64, 64), mask)
    feature = SpconvFeature(packed.values, packed.geometry)
    with pytest.raises(NoSparseForm, match=r"groups.*backend='packed'"):
        apply_layer(feature, nn.Conv2d(4, 4, 3, 1, 1, groups=2))
