"""Layers that mix all positions of an image, on the visible ones."""

import copy
import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from dense_reference import DoubleOnly
from masked_reference import randomize
from test_families import assert_parity
from timm.layers import attention2d
from timm.models import efficientvim, iformer
from torch import Tensor, nn

from mmhgkd.backbones import sparsify
from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse.sets import _FORMS
from mmhgkd.sparse.sparse_map import SparseMap
from mmhgkd.utils import ConfigError

CHANNELS = 32
BACKENDS = ('masked', 'packed', 'packed_torch')
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    'timm.layers.attention2d.Attention2d': [
        dict(num_heads=4),
        dict(num_heads=4, head_first=True),
    ],
    'timm.layers.attention2d.MultiQueryAttention2d': [
        dict(num_heads=4),
        dict(num_heads=4, kv_stride=2),
        dict(num_heads=4, kv_stride=2, padding='same'),
    ],
    'timm.layers.attention2d.MultiQueryAttentionV2': [
        dict(num_heads=2, key_dim=8, value_dim=6)
    ],
    'timm.models.cpubone.ConvAttention': [
        dict(att_stride=stride, att_kernel=3, fuse_out_proj=fused, **options)
        for stride in (1, 2)
        for fused in (False, True)
        for options in (
            {},
            dict(small_kernels=True),
            dict(upsample_mode='nearest'),
        )
    ],
    'timm.models.edgenext.SplitTransposeBlock': [
        dict(num_scales=2, num_heads=4, ls_init_value=0.5),
        dict(num_scales=4, use_pos_emb=False, ls_init_value=0.5),
    ],
    'timm.models.efficientvim.HSMSSD': [dict(state_dim=7)],
    'timm.models.efficientvit_mit.LiteMLA': [
        dict(out_channels=CHANNELS, scales=(3, 5))
    ],
    'timm.models.fastvit.Attention': [dict(head_dim=8)],
    'timm.models.iformer.SHMA': [{}],
    'timm.models.lowformer.ConvAttention': [
        dict(att_stride=stride, att_kernel=5, fuse_out_proj=fused)
        for stride in (1, 2)
        for fused in (False, True)
    ],
    'timm.models.shvit.SHSA': [dict(qk_dim=8, pdim=12)],
    'timm.models.swiftformer.EfficientAdditiveAttention': [
        dict(token_dim=CHANNELS)
    ],
    'timm.models.visformer.Attention': [dict(num_heads=4)],
}
CASES = [
    pytest.param(name, options, id=f'{name[12:]}-{index}')
    for name in ARGUMENTS
    for index, options in enumerate(ARGUMENTS[name])
]


class Network(nn.Module):
    """A layer between two convolutions."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 4, 4)
        self.layer = layer
        self.last = nn.Conv2d(CHANNELS, 5, 3, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of all layers."""
        stem = self.stem(x)
        x = self.layer(stem)
        if isinstance(self.layer, efficientvim.HSMSSD):
            x = x[0]
        return [stem, x, self.last(x)]


class Embedded(nn.Module):
    """A value for every position and channel, and one for every position."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, CHANNELS, height, width))
        self.gate = nn.Parameter(torch.randn(height, width))

    def forward(self, x: Tensor) -> Tensor:
        """Embed the positions."""
        return self.gate * (x + self.pos_embed)


def network_of(name: str, options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    module, _, layer = name.rpartition('.')
    create = getattr(importlib.import_module(module), layer)
    return randomize(Network(create(CHANNELS, **options)))


def test_all_layers_are_tested() -> None:
    assert ARGUMENTS.keys() == _FORMS.keys()


@pytest.mark.parametrize(('name', 'options'), CASES)
def test_layer_equals_masked_dense(name: str, options: dict) -> None:
    assert_parity(network_of(name, options), across=5, down=3)


@pytest.mark.parametrize(('name', 'options'), CASES)
def test_nothing_of_what_is_hidden_is_seen(name: str, options: dict) -> None:
    network = sparsify(network_of(name, options)).eval()
    dense = copy.deepcopy(network)
    mask = RandomUnitMask(8, seed=2)(2, 24, 40)
    assert not torch.equal(*mask.ids)
    images = torch.randn(2, 3, 24, 40, dtype=torch.float64)
    hidden = ~mask.visible(1)
    found = []
    with DoubleOnly():
        for backend in BACKENDS:
            network.backend = backend
            for other in (images, images + 100 * hidden):
                found.append([x.dense() for x in network(other, mask)])
            for image, ids in zip(images, mask.ids, strict=True):
                alone = network(image[None], mask._replace(ids=ids[None]))
                found.append([x.dense() for x in alone])
    both = found[0]
    for backend_maps in (found[index : index + 4] for index in (0, 4, 8)):
        seen, changed, *alone = backend_maps
        for index, x in enumerate(both):
            assert torch.allclose(seen[index], x, rtol=0, atol=1e-10)
            assert torch.equal(changed[index], seen[index])
            parts = torch.cat([maps[index] for maps in alone])
            assert torch.allclose(parts, x, rtol=0, atol=1e-10)
    # Without a mask it is the layer of timm.
    network.float(), dense.float()
    for x, y in zip(
        network(images.float()), dense(images.float()), strict=True
    ):
        assert torch.equal(x, y)


def test_attention_is_that_of_a_loop_over_visible_positions() -> None:
    torch.manual_seed(0)
    layer = attention2d.Attention2d(CHANNELS, num_heads=2)
    network = sparsify(randomize(Network(layer)))
    mask = RandomUnitMask(8, seed=2)(2, 24, 40)
    images = torch.randn(2, 3, 24, 40, dtype=torch.float64)
    found = network(images, mask)[1].dense()
    maps = network.stem(images)
    seen = mask.visible(4)[:, 0]
    for index in range(2):
        places = seen[index].nonzero().tolist()
        qkv = layer.qkv(maps)[index].unflatten(0, (3, 2, -1))
        for y, x in places:
            heads = []
            for q, keys, values in zip(*qkv, strict=True):
                weights = torch.stack(
                    [q[:, y, x] @ keys[:, a, b] / 4 for a, b in places]
                ).exp()
                total = sum(
                    weight * values[:, a, b]
                    for weight, (a, b) in zip(weights, places, strict=True)
                )
                heads.append(total / weights.sum())
            expected = F.linear(
                torch.cat(heads),
                layer.proj.weight[:, :, 0, 0],
                layer.proj.bias,
            )
            assert torch.allclose(found[index, :, y, x], expected)


def test_norms_within_attention_are_synchronized() -> None:
    network = network_of('timm.models.iformer.SHMA', {}).train()
    student = sparsify(copy.deepcopy(network))
    mask = RandomUnitMask(8, seed=2)(2, 24, 40)
    images = torch.randn(2, 3, 24, 40, dtype=torch.float64)
    student(images, mask)
    maps = student.stem(images).permute(0, 2, 3, 1)[mask.visible(4)[:, 0]]
    weight = student.layer.q.c.weight[:, :, 0, 0]
    before, after = network.layer.q.bn, student.layer.q.bn
    assert type(after).__name__ == 'DistributedBatchNorm'
    mean = before.running_mean.lerp((maps @ weight.T).mean(0), 0.1)
    assert torch.allclose(after.running_mean, mean)


@pytest.mark.parametrize('batch', [1, 2])
def test_embeddings_of_positions(batch: int) -> None:
    torch.manual_seed(0)
    dense = Network(Embedded(6, 10)).double()
    dense.img_size = (24, 40)
    student = sparsify(copy.deepcopy(dense))
    mask = RandomUnitMask(8, seed=2)(batch, 24, 40)
    images = torch.randn(batch, 3, 24, 40, dtype=torch.float64)
    expected = dense(images * mask.visible(1))[1] * mask.visible(4)
    for backend in BACKENDS:
        student.backend = backend
        found = student(images, mask)[1].dense()
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
        x = SparseMap(student(images, mask)[1])
        for values in (images[:, :1, ::4, ::4], expected):
            found = x.with_positions(x.positions() * x.operand(values))
            product = expected * values * mask.visible(4)
            assert torch.allclose(found.feature.dense(), product)
    larger = RandomUnitMask(8)(batch, 32, 48)
    with pytest.raises(ValueError, match='or as many positions'):
        student(torch.zeros(batch, 3, 32, 48).double(), larger)


def _bilinear() -> nn.Module:
    return attention2d.MultiQueryAttention2d(CHANNELS, query_strides=2)


def _windows() -> nn.Module:
    return iformer.SHMA(CHANNELS, window_size=4)


def _odd() -> nn.Module:
    return nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, 2, 1)


@pytest.mark.parametrize(
    ('create', 'reason'),
    [
        (_bilinear, 'resized by `bilinear`'),
        (_windows, 'attention within windows'),
        (_odd, 'multiplies the size of a map'),
    ],
)
def test_refusals(create: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        sparsify(Network(create()))


@pytest.mark.parametrize(
    'options',
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=4, stride=2, padding=1, groups=4),
        dict(kernel_size=2, stride=2, bias=False),
        dict(kernel_size=3, stride=2, padding=1, output_padding=1),
        dict(kernel_size=8, stride=4, padding=2, groups=2),
        dict(kernel_size=(4, 2), stride=2, padding=(1, 0)),
    ],
)
def test_transposed_convolution(options: dict) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(CHANNELS, CHANNELS, **options)
    assert_parity(randomize(Network(layer)), across=5, down=3)
