import pytest
import torch
from ranks import run_ranks
from torch import nn

from mmhgkd.sparse import DistributedBatchNorm


def data(rows: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    return x * 3 + 5


def loss(y: torch.Tensor, first: int = 0) -> torch.Tensor:
    weight = torch.arange(first, first + y.numel(), dtype=y.dtype)
    return (y * weight.view_as(y).sin()).sum()


def trained(
    module: nn.Module, x: torch.Tensor, first: int = 0
) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    loss(y, first).backward()
    return dict(
        y=y.detach(),
        x=x.grad,
        weight=module.weight.grad,
        bias=module.bias.grad,
        mean=module.running_mean,
        var=module.running_var,
    )


def test_rows_equal_batch_norm_1d() -> None:
    expected = trained(nn.BatchNorm1d(3).double(), data())
    actual = trained(DistributedBatchNorm(3).double(), data())
    for name, value in expected.items():
        assert torch.allclose(actual[name], value, atol=1e-12), name


def test_maps_equal_batch_norm_2d_and_eval_uses_running_statistics() -> None:
    x = data(24).view(2, 3, 3, 4)
    reference, module = (
        nn.BatchNorm2d(3).double(),
        DistributedBatchNorm(3).double(),
    )
    for _ in range(2):
        assert torch.allclose(module(x), reference(x), atol=1e-12)
    module.eval()
    reference.eval()
    assert torch.allclose(module(x), reference(x), atol=1e-12)
    assert int(module.num_batches_tracked) == 2


def test_cumulative_average() -> None:
    reference = nn.BatchNorm1d(3, momentum=None).double()
    module = DistributedBatchNorm(3, momentum=None).double()
    for step in range(3):
        module(data() + step)
        reference(data() + step)
    assert torch.allclose(module.running_mean, reference.running_mean)


def test_state_dict_is_that_of_batch_norm() -> None:
    nn.BatchNorm2d(3).load_state_dict(DistributedBatchNorm(3).state_dict())


def test_other_ranks_of_tensor_are_refused() -> None:
    with pytest.raises(ValueError, match='shape'):
        DistributedBatchNorm(3)(torch.zeros(2, 3, 4))


def half(rank: int) -> dict[str, dict[str, torch.Tensor]]:
    part = data()[rank * 6 : rank * 6 + 6]
    results = {}
    for name in ('eager', 'compiled'):
        module = DistributedBatchNorm(3).double()
        if name == 'compiled':
            module.compile(fullgraph=True, backend='aot_eager')
        results[name] = trained(module, part, rank * 18)
    return results


def test_two_ranks_equal_one_and_compile_to_one_graph() -> None:
    results = run_ranks(half)
    whole = trained(nn.BatchNorm1d(3).double(), data())
    for how in ('eager', 'compiled'):
        ranks = [result[how] for result in results]
        for name in ('y', 'x'):
            joined = torch.cat([rank[name] for rank in ranks])
            assert torch.allclose(joined, whole[name], rtol=0, atol=1e-12)
        for name in ('weight', 'bias'):
            total = ranks[0][name] + ranks[1][name]
            assert torch.allclose(total, whole[name], rtol=0, atol=1e-12)
        for rank in ranks:
            for name in ('mean', 'var'):
                assert torch.allclose(
                    rank[name], whole[name], rtol=0, atol=1e-12
                )
