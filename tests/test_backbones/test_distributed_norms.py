"""Batch norms of sparse students in a distributed run without a GPU."""

from typing import Any

import pytest
import torch
from ranks import run_ranks
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn

from mmhgkd.backbones import SparseResNet, sparsify
from mmhgkd.masks import RandomUnitMask, UnitMask
from mmhgkd.sparse import DistributedBatchNorm


def build(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    activated = SyncBatchNormAct(8)
    activated.act = nn.ReLU()
    network = nn.Sequential(
        nn.Conv2d(3, 8, 2, 2),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, 1, 1),
        BatchNormAct2d(8),
        nn.Conv2d(8, 8, 2, 2),
        nn.SyncBatchNorm(8),
        nn.Conv2d(8, 8, 1),
        activated,
    )
    for norm in network[1::2]:
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    return network.double()


def batch() -> tuple[Tensor, UnitMask]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 64, 64, generator=generator).double()
    return images, RandomUnitMask(seed=5)(4, 64, 64)


def trained(
    network: nn.Module, images: Tensor, ids: Tensor, mask: UnitMask
) -> dict[str, Tensor]:
    """Outputs of a dense and of a sparse step, gradients and buffers."""
    (dense,) = network(images)
    (sparse,) = network(images, mask._replace(ids=ids))
    (dense.square().sum() + sparse.rows().square().sum()).backward()
    return dict(
        dense=dense.detach(),
        sparse=sparse.rows().detach(),
        grad=torch.cat([p.grad.flatten() for p in network.parameters()]),
        **{
            name: x for name, x in network.named_buffers() if 'running' in name
        },
    )


def half(rank: int) -> dict[str, Tensor]:
    images, mask = batch()
    part = slice(2 * rank, 2 * rank + 2)
    return trained(sparsify(build()), images[part], mask.ids[part], mask)


def test_two_ranks_equal_one() -> None:
    first, second = run_ranks(half)
    images, mask = batch()
    whole = trained(sparsify(build()), images, mask.ids, mask)
    for name, expected in whole.items():
        if name in ('dense', 'sparse'):
            actual = torch.cat([first[name], second[name]])
        elif name == 'grad':
            actual = first[name] + second[name]
        else:
            assert torch.equal(first[name], second[name])
            actual = first[name]
        error = (actual - expected).abs().max()
        assert error <= 1e-12 * expected.abs().max(), name


@pytest.mark.parametrize('sync_norm', [True, False])
def test_exchanged_norms_keep_weights_flags_and_function(
    sync_norm: bool,
) -> None:
    dense = build()
    network = build(seed=2)
    network[1].eval()
    student = sparsify(network, sync_norm=sync_norm)
    student.load_state_dict(dense.state_dict(), strict=True)
    dense.load_state_dict(student.state_dict(), strict=True)
    norms = student[1::2]
    assert not any(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    synchronized = [isinstance(norm, DistributedBatchNorm) for norm in norms]
    assert synchronized == [sync_norm, sync_norm, True, True]
    assert [norm.training for norm in norms] == [False, True, True, True]
    dense.eval()
    student.eval()
    images, _ = batch()
    assert torch.allclose(student(images)[0], dense(images), atol=1e-12)


def test_norm_of_the_config_runs_on_the_cpu() -> None:
    options: dict[str, Any] = dict(stem_channels=8, base_channels=4)
    student = SparseResNet(18, norm_cfg=dict(type='SyncBN'), **options)
    norms = {type(x) for x in student.modules() if 'Norm' in type(x).__name__}
    assert norms == {DistributedBatchNorm}
    plain = SparseResNet(18, norm_cfg=dict(type='BN'), **options)
    norms = {type(x) for x in plain.modules() if 'Norm' in type(x).__name__}
    assert norms == {nn.BatchNorm2d}
