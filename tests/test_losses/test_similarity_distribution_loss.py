import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from mmhgkd.losses import (
    SimilarityDistributionLoss,
    center_embeddings,
    pearson_correlation,
)


def unit(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=dtype)
    return F.normalize(x, dim=-1)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def centered(x: np.ndarray, bank: np.ndarray, kind: str) -> np.ndarray:
    """The symmetric root of the inverse covariance, by eigenvectors."""
    if kind == 'none':
        return x
    mean = bank.sum(0) / len(bank)
    rows = [row - mean for row in x]
    if kind == 'whiten':
        covariance = sum(
            np.outer(row - mean, row - mean) for row in bank
        ) / len(bank)
        size = len(covariance)
        shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / size * np.eye(
            size
        )
        values, vectors = np.linalg.eigh(shrunk)
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        rows = [root @ row for row in rows]
    return np.stack([row / np.linalg.norm(row) for row in rows])


def naive(
    student: torch.Tensor,
    teacher: torch.Tensor,
    bank: torch.Tensor,
    distance: str = 'pearson',
    temperature: float | None = 0.2,
    include_self: bool = True,
    intra_weight: float = 0.0,
    center: str = 'none',
) -> float:
    s, t, b = (
        centered(x.numpy(), bank.numpy(), center)
        for x in (student, teacher, bank)
    )
    q, p = s @ b.T, t @ b.T
    if include_self:
        q = np.concatenate([(s * t).sum(1)[:, None], q], 1)
        p = np.concatenate([(t * t).sum(1)[:, None], p], 1)
    if temperature is not None:
        q, p = softmax(q / temperature), softmax(p / temperature)
    if distance == 'pearson':
        loss = 1 - np.mean(
            [scipy.stats.pearsonr(x, y)[0] for x, y in zip(q, p, strict=True)]
        )
        if intra_weight:
            start = int(include_self)
            loss += intra_weight * (
                1
                - np.mean(
                    [
                        scipy.stats.pearsonr(q[:, j], p[:, j])[0]
                        for j in range(start, q.shape[1])
                    ]
                )
            )
        return loss
    if distance == 'ce':
        return np.mean(
            [-(y * np.log(x)).sum() for x, y in zip(q, p, strict=True)]
        )
    return np.mean(
        [scipy.stats.entropy(y, x) for x, y in zip(q, p, strict=True)]
    )


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(temperature=None),
        dict(temperature=0.07, include_self=False),
        dict(intra_weight=1.0),
        dict(intra_weight=0.5, include_self=False, temperature=None),
        dict(distance='kl'),
        dict(distance='ce', include_self=False),
        dict(center='mean'),
        dict(center='mean', temperature=None, include_self=False),
        dict(center='whiten'),
        dict(center='whiten', distance='kl'),
    ],
)
def test_loss_equals_scipy(options: dict, device: torch.device) -> None:
    student, teacher, bank = (
        unit(6, 9),
        unit(6, 9, seed=1),
        unit(40, 9, seed=2),
    )
    loss, _ = SimilarityDistributionLoss(**options)(
        *(x.to(device) for x in (student, teacher, bank))
    )
    assert loss.item() == pytest.approx(
        naive(student, teacher, bank, **options), abs=1e-10
    )


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(temperature=None, include_self=False),
        dict(intra_weight=1.0),
        dict(distance='kl'),
        dict(distance='ce'),
        dict(center='mean'),
        dict(center='whiten'),
    ],
)
def test_gradient(options: dict) -> None:
    student = unit(3, 5).requires_grad_()
    teacher, bank = unit(3, 5, seed=1), unit(7, 5, seed=2)
    loss = SimilarityDistributionLoss(**options)
    assert torch.autograd.gradcheck(
        lambda s: loss(s, teacher, bank)[0], (student,)
    )


@pytest.mark.parametrize('center', ['mean', 'whiten'])
def test_whitening_of_a_queue_that_does_not_span_the_space(
    center: str,
) -> None:
    student, teacher = unit(4, 9), unit(4, 9, seed=1)
    loss = SimilarityDistributionLoss(center=center)
    bank = unit(5, 9, seed=2)
    assert loss(student, teacher, bank)[0].item() == pytest.approx(
        naive(student, teacher, bank, center=center), abs=1e-10
    )
    student.requires_grad_()
    for equal in (bank[:1], bank[:1].expand(3, -1)):
        value = loss(student, teacher, equal)[0]
        value.backward()
        assert value.isfinite() and student.grad.isfinite().all()


@pytest.mark.parametrize('center', ['mean', 'whiten'])
def test_centering_removes_a_common_direction(center: str) -> None:
    # All embeddings share 99 % of their energy.
    common = unit(1, 6, seed=9)
    student, teacher, bank = (
        F.normalize(common + 0.1 * unit(n, 6, seed=seed), dim=-1)
        for seed, n in ((0, 8), (1, 8), (2, 64))
    )
    assert (bank @ bank.T).min() > 0.9
    centered_bank = center_embeddings(bank, bank, center)
    assert abs((centered_bank @ centered_bank.T).mean().item()) < 0.05
    plain, _ = SimilarityDistributionLoss(temperature=None)(
        student, teacher, bank
    )
    loss, _ = SimilarityDistributionLoss(temperature=None, center=center)(
        student, teacher, bank
    )
    assert not torch.isclose(loss, plain, rtol=1e-2)


def test_pearson_of_a_long_softmax_in_fp32_equals_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 65537, generator=generator)
    y = x + torch.randn(4, 65537, generator=generator)
    q, p = (0.1 * x / 0.2).softmax(-1), (0.1 * y / 0.2).softmax(-1)
    expected = [
        scipy.stats.pearsonr(a, b)[0]
        for a, b in zip(q.double().numpy(), p.double().numpy(), strict=True)
    ]
    assert pearson_correlation(q, p).tolist() == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize('include_self', [False, True])
def test_pearson_of_a_full_queue_equals_scipy(
    include_self: bool, device: torch.device
) -> None:
    """The sizes of a ViT-B and of the paper's queue, in single precision."""
    teacher, bank = (
        unit(n, 768, seed=n, dtype=torch.float32) for n in (4, 65536)
    )
    student = F.normalize(
        teacher + unit(4, 768, seed=1, dtype=torch.float32), dim=-1
    )
    both = torch.stack([student, teacher]).double()
    cosines = torch.cat([both @ x.double().T for x in bank.split(4096)], -1)
    if include_self:
        own = (both * teacher).sum(-1, keepdim=True)
        cosines = torch.cat([own, cosines], -1)
    q, p = softmax(cosines.numpy() / 0.2)
    expected = [
        scipy.stats.pearsonr(x, y)[0] for x, y in zip(q, p, strict=True)
    ]
    assert min(expected) > 0.5
    tolerance = 1e-5
    actual = pearson_correlation(
        *(cosines.float().to(device) / 0.2).softmax(-1)
    )
    assert actual.tolist() == pytest.approx(expected, abs=tolerance)
    loss, logs = SimilarityDistributionLoss(include_self=include_self)(
        *(x.to(device) for x in (student, teacher, bank))
    )
    assert loss.item() == pytest.approx(1 - np.mean(expected), abs=tolerance)
    assert logs['pearson'].item() == pytest.approx(
        np.mean(expected), abs=tolerance
    )
    if include_self:
        return

    # The tolerance is sharp enough: an epsilon in the denominator, of both
    # vectors together or of each, is seen.
    q, p = (x - x.mean(1, keepdims=True) for x in (q, p))
    norms = np.linalg.norm([q, p], axis=-1)
    assert norms == pytest.approx(7e-4, rel=0.1)
    products = (q * p).sum(1)
    assert products / norms.prod(0) == pytest.approx(expected, abs=1e-12)
    for wrong in (
        products / (norms.prod(0) + 1e-3),
        products / (norms.prod(0) + 1e-8),
        products / (norms + 1e-3).prod(0),
        products / norms.clip(1e-3).prod(0),
    ):
        assert np.abs(wrong - expected).min() > 100 * tolerance


def test_pearson_bounds_and_constants() -> None:
    x = unit(3, 50)
    assert pearson_correlation(x, 2 * x + 3).tolist() == pytest.approx([1] * 3)
    assert pearson_correlation(x, -x).tolist() == pytest.approx([-1] * 3)
    constant = torch.ones(3, 50, dtype=torch.float64, requires_grad=True)
    correlation = pearson_correlation(constant, x)
    assert correlation.tolist() == [0, 0, 0]
    correlation.sum().backward()
    assert torch.isfinite(constant.grad).all()


def test_pearson_along_the_batch() -> None:
    x, y = unit(8, 4), unit(8, 4, seed=1)
    expected = [scipy.stats.pearsonr(x[:, j], y[:, j])[0] for j in range(4)]
    assert pearson_correlation(x, y, dim=0).tolist() == pytest.approx(expected)


def test_half_precision_is_promoted() -> None:
    student, teacher, bank = (
        unit(4, 16, seed=seed, dtype=torch.float32) for seed in range(3)
    )
    loss = SimilarityDistributionLoss()
    expected, _ = loss(student, teacher, bank)
    with torch.autocast('cpu', torch.bfloat16):
        actual, _ = loss(student, teacher, bank)
    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(expected.item(), abs=1e-6)


def test_log_figures() -> None:
    student, teacher, bank = (
        unit(5, 9),
        unit(5, 9, seed=1),
        unit(30, 9, seed=2),
    )
    loss, logs = SimilarityDistributionLoss()(student, teacher, bank)
    assert logs['pearson'].item() == pytest.approx(1 - loss.item())
    p = softmax(
        np.concatenate([np.ones((5, 1)), (teacher @ bank.T).numpy()], 1) / 0.2
    )
    deviation = (p - p.mean(1, keepdims=True)) ** 2
    share = (deviation[:, 0] / deviation.sum(1)).mean()
    assert logs['self_variance_share'].item() == pytest.approx(share)
    _, logs = SimilarityDistributionLoss(include_self=False)(
        student, teacher, bank
    )
    assert 'self_variance_share' not in logs


def test_weight_scales_the_loss() -> None:
    parts = unit(5, 9), unit(5, 9, seed=1), unit(30, 9, seed=2)
    one, _ = SimilarityDistributionLoss()(*parts)
    three, _ = SimilarityDistributionLoss(loss_weight=3)(*parts)
    assert three.item() == pytest.approx(3 * one.item())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(distance='euclid'), 'distance'),
        (dict(temperature=0), 'temperature'),
        (dict(temperature=None, distance='kl'), 'temperature'),
        (dict(intra_weight=1, distance='ce'), 'intra_weight'),
        (dict(center='median'), 'center'),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimilarityDistributionLoss(**options)
