"""The packed sparse ResNet against the masked dense one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mmhgkd.backbones import SparseResNet
from mmhgkd.masks import RandomUnitMask, UnitMask

SMALL: dict[str, Any] = dict(
    stem_channels=8,
    base_channels=4,
    zero_init_residual=False,
    norm_cfg=dict(type='BN'),
)


def make_net(depth: int = 18, **kwargs: Any) -> SparseResNet:
    torch.manual_seed(0)
    return SparseResNet(depth, backend='packed', **(SMALL | kwargs))


def make_mask(kind: str = 'random') -> UnitMask:
    if kind == 'full':
        return RandomUnitMask(mask_ratio=0)(2, 96, 96)
    if kind == 'single':
        return UnitMask(torch.arange(9).view(9, 1), 3, 3, 32)
    if kind == 'coarse':
        return RandomUnitMask(unit=64, mask_ratio=0.5, seed=3)(2, 128, 192)
    size = (64, 128) if kind == 'rectangular' else (96, 96)
    return RandomUnitMask(seed=5)(2, *size)


def make_images(mask: UnitMask, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = (mask.rows * mask.unit, mask.columns * mask.unit)
    images = torch.randn(len(mask.ids), 3, *size, generator=generator)
    return images.to(mask.ids.device, dtype)


def on(mask: UnitMask, device: torch.device) -> UnitMask:
    return mask._replace(ids=mask.ids.to(device))


def evaluate(
    net: SparseResNet, images: Tensor, mask: UnitMask, backend: str = 'packed'
) -> tuple[list[Tensor], list[Tensor]]:
    """Dense outputs, and gradients of a sum with fixed weights."""
    net.backend = backend
    torch.manual_seed(1)  # drop path
    outs = [feature.dense() for feature in net(images, mask)]
    flat = torch.cat([x.flatten() for x in outs])
    weights = torch.linspace(-1, 1, len(flat), dtype=flat.dtype)
    total = flat @ weights.to(flat.device)
    leaves = [x for x in (images, *net.parameters()) if x.requires_grad]
    return outs, list(torch.autograd.grad(total, leaves))


def assert_equal(
    actual: tuple[list[Tensor], list[Tensor]],
    expected: tuple[list[Tensor], list[Tensor]],
) -> None:
    for part, reference in zip(actual, expected, strict=True):
        for x, y in zip(part, reference, strict=True):
            assert (x - y).abs().max() <= 1e-10 * y.abs().max().clamp(min=1)


@pytest.mark.parametrize(
    ('depth', 'kind'),
    [
        *(
            (18, kind)
            for kind in ('random', 'full', 'single', 'rectangular', 'coarse')
        ),
        (50, 'random'),
        (50, 'rectangular'),
    ],
)
def test_outputs_and_gradients_equal_masked_dense(
    depth: int, kind: str, device: torch.device
) -> None:
    net = make_net(depth).to(device, torch.float64)
    mask = on(make_mask(kind), device)
    images = make_images(mask).requires_grad_()
    expected = evaluate(net, images, mask, 'masked')
    statistics = [x.clone() for x in net.buffers()]
    for module in net.modules():
        if hasattr(module, 'reset_running_stats'):
            module.reset_running_stats()
    assert_equal(evaluate(net, images, mask), expected)
    for x, y in zip(net.buffers(), statistics, strict=True):
        assert torch.allclose(x, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(frozen_stages=1),
        dict(norm_eval=True),
        dict(drop_path_rate=0.5),
        dict(drop_path_rate=0.5, with_cp=True),
        dict(deep_stem=True, avg_down=True),
        dict(style='caffe', depth=50),
        dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    ],
)
def test_options_of_resnet(kwargs: dict, device: torch.device) -> None:
    net = make_net(**kwargs).to(device, torch.float64)
    mask = on(make_mask(), device)
    net.train()
    images = make_images(mask)
    expected = evaluate(net, images, mask, 'masked')
    assert_equal(evaluate(net, images, mask), expected)


def test_evaluation_uses_running_statistics() -> None:
    net, mask = make_net().double(), make_mask()
    images = make_images(mask)
    net(images, mask)
    net.eval()
    assert_equal(
        evaluate(net, images, mask), evaluate(net, images, mask, 'masked')
    )


def test_order_of_the_ids_does_not_matter() -> None:
    net, mask = make_net().double(), make_mask()
    images = make_images(mask)
    order = torch.tensor([2, 0, 3, 1])
    assert_equal(
        evaluate(net, images, mask._replace(ids=mask.ids[:, order])),
        evaluate(net, images, mask),
    )


@pytest.mark.parametrize('channels_last', [False, True])
def test_memory_format_of_images_does_not_matter(channels_last: bool) -> None:
    net, mask = make_net().double(), make_mask()
    images = make_images(mask)
    expected = evaluate(net, images, mask)
    images = images.to(memory_format=torch.channels_last)
    if channels_last:
        net.to(memory_format=torch.channels_last)
    assert_equal(evaluate(net, images, mask), expected)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [
        (torch.float32, 1e-3),
        (torch.bfloat16, 0.1),
    ],
)
def test_low_precision_is_close_to_double(
    dtype: torch.dtype, tolerance: float, device: torch.device
) -> None:
    net, mask = make_net().to(device), on(make_mask(), device)
    images = make_images(mask, torch.float32)
    exact, _ = evaluate(net.double(), images.double(), mask)
    net.float()
    half = dtype == torch.bfloat16
    with torch.autocast(device.type, torch.bfloat16, half):
        features = net(images, mask)
    assert {feature.rows().dtype for feature in features} == {dtype}
    for feature, y in zip(features, exact, strict=True):
        assert (feature.dense() - y).norm() < tolerance * y.norm()


@pytest.mark.parametrize('autocast', [False, True])
def test_compiles_without_graph_break(autocast: bool) -> None:
    net = make_net(
        num_stages=1, strides=(2,), dilations=(1,), out_indices=(0,)
    )
    if not autocast:
        net.double()
    mask = make_mask()
    images = make_images(mask, next(net.parameters()).dtype)

    def run(images: Tensor, ids: Tensor) -> list[Tensor]:
        with torch.autocast('cpu', torch.bfloat16, autocast):
            features = net(images, mask._replace(ids=ids))
        return [feature.rows().to(images.dtype) for feature in features]

    compiled = torch.compile(run, backend='eager', fullgraph=True)
    for ids in (mask.ids, RandomUnitMask(seed=6)(2, 96, 96).ids):
        with torch._dynamo.config.patch(
            error_on_recompile=ids is not mask.ids
        ):
            outs = compiled(images, ids)
        results = []
        for out in (outs, run(images, ids)):
            total = torch.stack([x.sin().sum() for x in out]).sum()
            gradients = torch.autograd.grad(total, list(net.parameters()))
            results.append((out, list(gradients)))
        if not autocast:
            assert_equal(*results)
        for x, y in zip(*(out for out, _ in results), strict=True):
            assert (x - y).norm() < 0.05 * y.norm()
