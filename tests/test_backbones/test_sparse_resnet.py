"""The sparse ResNet against a masked dense network written here."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models import ResNet
from torch import Tensor, nn

from mmhgkd.backbones import SparseResNet, sparse_blocks
from mmhgkd.backbones.backends import BACKENDS
from mmhgkd.masks import RandomUnitMask, UnitMask

SMALL = dict(stem_channels=8, base_channels=4)


def masked_norm(norm: nn.Module, x: Tensor, visible: Tensor) -> Tensor:
    seen = x.permute(0, 2, 3, 1)[visible[:, 0]]
    mean, var = seen.mean(0), seen.var(0, unbiased=False)
    shape = (1, -1, 1, 1)
    y = (x - mean.view(shape)) / (var.view(shape) + norm.eps).sqrt()
    return (y * norm.weight.view(shape) + norm.bias.view(shape)) * visible


def masked_conv(conv: nn.Conv2d, x: Tensor, units: Tensor) -> Tensor:
    y = F.conv2d(x, conv.weight, None, conv.stride, conv.padding)
    return y * grow(units, y)


def grow(units: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(units, x.shape[2:], mode='nearest').bool()


def masked_dense(net: ResNet, images: Tensor, units: Tensor) -> list[Tensor]:
    """SparK's forward: dense layers, each followed by the mask."""

    def conv_norm(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
        y = masked_conv(conv, x, units)
        return masked_norm(norm, y, grow(units, y))

    x = images * grow(units, images)
    x = conv_norm(net.conv1, net.norm1, x).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    x = x * grow(units, x)
    outs = []
    for name in net.res_layers:
        for block in getattr(net, name):
            y = conv_norm(block.conv1, block.norm1, x).relu()
            y = conv_norm(block.conv2, block.norm2, y)
            if hasattr(block, 'conv3'):
                y = conv_norm(block.conv3, block.norm3, y.relu())
            if block.downsample is not None:
                x = conv_norm(*block.downsample, x)
            x = (x + y).relu()
        outs.append(x)
    return outs


def make_mask(kind: str) -> UnitMask:
    if kind == 'full':
        return RandomUnitMask(mask_ratio=0)(2, 96, 96)
    if kind == 'single':
        return UnitMask(torch.arange(9).view(9, 1), 3, 3, 32)
    size = (64, 128) if kind == 'rectangular' else (96, 96)
    return RandomUnitMask(seed=5)(2, *size)


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('kind', ['random', 'full', 'single', 'rectangular'])
def test_outputs_and_gradients_equal_masked_dense(
    depth: int, kind: str
) -> None:
    torch.manual_seed(0)
    net = SparseResNet(depth, zero_init_residual=False, **SMALL).double()
    mask = make_mask(kind)
    units = mask.visible(32).double()
    images = torch.randn(
        len(mask.ids),
        3,
        mask.rows * 32,
        mask.columns * 32,
        dtype=torch.float64,
    )
    expected = masked_dense(net, images, units)
    weights = [torch.randn_like(x) for x in expected]

    def gradients(outs: list[Tensor]) -> list[Tensor]:
        total = sum((x * w).sum() for x, w in zip(outs, weights, strict=True))
        return torch.autograd.grad(total, list(net.parameters()))

    actual = net(images, mask)
    assert [feature.stride for feature in actual] == [4, 8, 16, 32]
    dense = [feature.dense() for feature in actual]
    for x, y in zip(dense, expected, strict=True):
        assert torch.allclose(x, y, rtol=0, atol=1e-10)
    for x, y in zip(gradients(dense), gradients(expected), strict=True):
        assert (x - y).abs().max() <= 1e-10 * max(1, y.abs().max())


def test_without_mask_it_is_the_dense_resnet() -> None:
    torch.manual_seed(0)
    net, plain = (
        SparseResNet(18, **SMALL),
        ResNet(18, out_indices=(0, 1, 2, 3), **SMALL),
    )
    plain.load_state_dict(net.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    for training in (True, False):
        net.train(training)
        plain.train(training)
        for x, y in zip(net(images), plain(images), strict=True):
            assert torch.allclose(x, y, atol=1e-5)
    for key, value in plain.state_dict().items():
        assert torch.allclose(net.state_dict()[key], value, atol=1e-5), key


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_state_dict_keys_equal_those_of_resnet(depth: int) -> None:
    expected = {k: v.shape for k, v in ResNet(depth).state_dict().items()}
    actual = SparseResNet(depth).state_dict()
    assert {k: v.shape for k, v in actual.items()} == expected


def test_hidden_pixels_do_not_matter() -> None:
    net = SparseResNet(18, **SMALL)
    mask = RandomUnitMask()(2, 96, 96)
    images = torch.randn(2, 3, 96, 96)
    other = torch.where(mask.visible(1), images, torch.randn_like(images))
    for x, y in zip(net(images, mask), net(other, mask), strict=True):
        assert torch.equal(x.rows(), y.rows())


def test_running_statistics_are_those_of_visible_positions() -> None:
    net = SparseResNet(18, **SMALL).double()
    mask = RandomUnitMask()(2, 96, 96)
    images = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    units = mask.visible(32).double()
    x = masked_conv(net.conv1, images * grow(units, images), units)
    seen = x.permute(0, 2, 3, 1)[grow(units, x)[:, 0]]
    net(images, mask)
    assert torch.allclose(net.norm1.running_mean, 0.1 * seen.mean(0))
    assert torch.allclose(net.norm1.running_var, 0.9 + 0.1 * seen.var(0))


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('form', ['packed', 'masked', 'dense', 'eval'])
def test_recomputed_blocks_change_nothing(form: str, depth: int) -> None:
    torch.manual_seed(0)
    options = dict(drop_path_rate=0.5, norm_cfg=dict(type='BN'), **SMALL)
    net = SparseResNet(depth, with_cp=True, **options).double()
    plain = SparseResNet(depth, **options).double()
    plain.load_state_dict(net.state_dict())
    mask = None if form == 'dense' else RandomUnitMask()(4, 96, 96)
    images = torch.randn(4, 3, 96, 96, dtype=torch.float64)
    results = []
    for model in (net, plain):
        model.train(form != 'eval')
        model.backend = 'masked' if form == 'masked' else 'packed'
        for step in range(2):
            torch.manual_seed(step)
            out = model(images + step, mask)[-1]
            out = out if mask is None else out.rows()
            out.square().sum().backward()
        gradients = [x.grad for x in model.parameters()]
        results.append([out, *gradients, *model.buffers()])
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y)
    batches = 0 if form == 'eval' else 2
    assert int(net.norm1.num_batches_tracked) == batches
    assert int(net.layer4[0].norm1.num_batches_tracked) == batches


def test_blocks_are_recomputed() -> None:
    net = SparseResNet(18, with_cp=True, **SMALL)
    calls = []
    net.layer1[0].conv1.register_forward_pre_hook(
        lambda *_: calls.append('dense')
    )
    images = torch.randn(2, 3, 64, 64)
    torch.stack([x.sum() for x in net(images)]).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        net(images)
    assert len(calls) == 3


def test_a_layer_without_sparse_form_is_named() -> None:
    net = SparseResNet(18, **SMALL)
    net.maxpool = nn.LPPool2d(2, 2)
    with pytest.raises(TypeError, match='LPPool2d has no sparse form'):
        net(torch.zeros(1, 3, 64, 32), RandomUnitMask()(1, 64, 32))


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match='backend'):
        SparseResNet(18, backend='dense')


@pytest.mark.parametrize('depth', [18, 50])
def test_zero_filled_is_the_dense_network_on_an_image_with_holes(
    depth: int,
) -> None:
    torch.manual_seed(0)
    net = SparseResNet(depth, backend='zero_filled', **SMALL).double()
    net.init_weights()
    plain = ResNet(depth, out_indices=range(4), **SMALL).double()
    plain.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    mask = RandomUnitMask(mask_ratio=0.5)(2, 96, 64)
    holes = images * grow(units_of(mask), images)
    total = expected = 0
    for feature, dense in zip(net(images, mask), plain(holes), strict=True):
        # Nothing is hidden from the decoder.
        assert len(feature.rows()) == dense.numel() // dense.size(1)
        assert torch.allclose(feature.dense(), dense, atol=1e-10)
        total = total + feature.dense().square().mean()
        expected = expected + dense.square().mean()
    total.backward()
    expected.backward()
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-10)
    for ours, theirs in zip(net.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(ours, theirs)


def units_of(mask: UnitMask) -> Tensor:
    units = torch.zeros(len(mask.ids), mask.num_units, dtype=torch.float64)
    for image, ids in enumerate(mask.ids.tolist()):
        units[image, ids] = 1
    return units.view(-1, 1, mask.rows, mask.columns)


@pytest.mark.parametrize('backend', ['packed', 'masked'])
def test_nothing_hidden_is_the_dense_network(backend: str) -> None:
    torch.manual_seed(0)
    model = SparseResNet(
        18, stem_channels=8, base_channels=8, backend=backend
    ).double()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    mask = RandomUnitMask(mask_ratio=0.0)(2, 64, 96)
    features = model(x, mask)
    forms = BACKENDS[backend].from_images(x, mask)
    for ours, packed, dense in zip(
        features, model.sparse_forward(forms), model(x), strict=True
    ):
        assert ours.stride == packed.stride
        assert torch.allclose(ours.rows(), packed.rows(), atol=1e-10)
        # In another memory layout, so that sums have another order.
        assert torch.allclose(ours.dense(), dense, rtol=0, atol=1e-12)


@pytest.mark.parametrize('depth', [18, 50])
def test_drop_path_where_nothing_is_hidden(depth: int) -> None:
    """Whole blocks of an image are left out, the others count for them."""
    torch.manual_seed(0)
    net = SparseResNet(
        depth, stem_channels=16, base_channels=16, drop_path_rate=0.4
    ).double()
    net.init_weights()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    plain = copy.deepcopy(net)
    x = torch.randn(6, 3, 64, 64, dtype=torch.float64)
    torch.manual_seed(1)
    features = net(x, RandomUnitMask(mask_ratio=0.0)(6, 64, 64))

    torch.manual_seed(1)
    outs, y = [], plain.maxpool(plain.norm1(plain.conv1(x)).relu())
    for name in plain.res_layers:
        for block in getattr(plain, name):
            branch, shortcut = y, y
            if block.downsample is not None:
                shortcut = block.downsample(y)
            last = 3 if depth == 50 else 2
            for index in range(1, last + 1):
                branch = getattr(block, f'conv{index}')(branch)
                branch = getattr(block, f'norm{index}')(branch)
                branch = branch.relu() if index < last else branch
            keep = 1 - getattr(block.drop_path, 'drop_prob', 0.0)
            if keep < 1:
                kept = (torch.rand(6) < keep).double()
                branch = branch * kept.view(-1, 1, 1, 1) / keep
            y = (shortcut + branch).relu()
        outs.append(y)

    total = expected = torch.zeros((), dtype=torch.float64)
    for feature, out in zip(features, outs, strict=True):
        torch.testing.assert_close(feature.dense(), out, rtol=0, atol=1e-10)
        total = total + feature.dense().square().mean()
        expected = expected + out.square().mean()
    total.backward()
    expected.backward()
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-6, atol=1e-10
        )
    for ours, theirs in zip(net.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('backend', [*BACKENDS, 'whole'])
def test_recomputation_knows_the_device(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or drop path is drawn anew, as its random numbers are not restored."""
    seen = []

    def record(function: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(args)
        return function(*args)

    monkeypatch.setattr(sparse_blocks, 'checkpoint', record)
    if backend == 'spconv':
        pytest.importorskip('spconv')
    ratio, backend = (0, 'packed') if backend == 'whole' else (0.5, backend)
    net = SparseResNet(18, with_cp=True, backend=backend, **SMALL)
    net(torch.randn(2, 3, 96, 64), RandomUnitMask(mask_ratio=ratio)(2, 96, 64))
    assert len(seen) == 8
    assert all(isinstance(args[0], Tensor) for args in seen)


@pytest.mark.parametrize(
    'options',
    [dict(conv_cfg=dict(type='ConvWS')), dict(norm_cfg=dict(type='IN'))],
)
def test_layers_without_sparse_form_where_nothing_is_hidden(
    options: dict[str, Any],
) -> None:
    net = SparseResNet(18, **options, **SMALL)
    x = torch.randn(2, 3, 64, 64)
    features = net(x, RandomUnitMask(mask_ratio=0.0)(2, 64, 64))
    for feature, dense in zip(features, net(x), strict=True):
        assert torch.allclose(feature.dense(), dense, atol=1e-5)


@pytest.mark.parametrize(('width', 'channels_last'), [(8, False), (16, True)])
def test_layout_of_the_whole_image(width: int, channels_last: bool) -> None:
    """Not that in which oneDNN#6035 would spoil the gradient of a shortcut."""
    model = SparseResNet(18, stem_channels=width, base_channels=width)
    seen = []
    model.layer2[0].downsample[0].register_forward_hook(
        lambda _, inputs, __: seen.append(
            inputs[0].is_contiguous(memory_format=torch.channels_last)
        )
    )
    model(torch.randn(2, 3, 64, 64), RandomUnitMask(mask_ratio=0.0)(2, 64, 64))
    assert seen == [channels_last]
