from collections.abc import Callable

import pytest
import torch
from scipy.linalg import inv, sqrtm
from torch import Tensor

from mmhgkd.teachers.target_norm import _newton_schulz, inverse_root, shrink


def correlation(samples: int, channels: int) -> Tensor:
    """Of a few directions that are much stronger than the others."""
    torch.manual_seed(0)
    rows = torch.randn(2, samples, channels, dtype=torch.float64)
    rows = rows + 5 * torch.randn(2, samples, 1) * torch.randn(channels)
    rows = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True)
    return shrink(rows.mT @ rows / samples)


@pytest.mark.parametrize('samples', [10, 400])
@pytest.mark.parametrize('root', [inverse_root, _newton_schulz])
def test_equals_scipy(root: Callable[[Tensor], Tensor], samples: int) -> None:
    matrix = correlation(samples, 48)
    expected = torch.stack(
        [torch.tensor(inv(sqrtm(part).real)) for part in matrix]
    )
    torch.testing.assert_close(root(matrix), expected, rtol=1e-9, atol=1e-10)


def test_iteration_in_single_precision() -> None:
    """It whitens as well as the eigenvectors do, at the width of a ViT-B."""
    matrix = correlation(500, 768)
    identity = torch.eye(768, dtype=torch.float64)
    for root in (inverse_root, _newton_schulz):
        half = root(matrix.float()).double()
        error = (half @ matrix @ half - identity).abs().max()
        assert error < 2e-3, root
