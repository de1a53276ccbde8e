import numpy as np
import pytest
import torch

from mmhgkd.visualization import TokenPCA


def make_tokens() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 5, 6, 8, generator=generator)
    return tokens * torch.arange(1, 9) + 3


def test_basis_is_the_leading_eigenvectors() -> None:
    tokens = make_tokens()
    rows = tokens.flatten(0, 2).double().numpy()
    centered = rows - rows.mean(0)
    _, vectors = np.linalg.eigh(centered.T @ centered)
    expected = vectors[:, ::-1][:, :3].T
    components = TokenPCA(tokens).pca.components_
    cosines = (components * expected).sum(1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-10)


def test_colors_span_the_middle_of_the_fitted_tokens() -> None:
    tokens = make_tokens()
    pca = TokenPCA(tokens)
    rows = tokens.flatten(0, 2).double().numpy()
    values = (rows - rows.mean(0)) @ pca.pca.components_.T
    low, high = np.percentile(values, [1, 99], axis=0)
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(
        pca(tokens), expected.reshape(2, 5, 6, 3), atol=1e-12
    )


def test_colors_do_not_depend_on_the_order_of_tokens() -> None:
    tokens = make_tokens()
    flipped = TokenPCA(tokens.flip(0, 1, 2))
    np.testing.assert_allclose(
        flipped(tokens), TokenPCA(tokens)(tokens), atol=1e-10
    )


def test_other_tokens_are_shown_in_the_fitted_basis() -> None:
    tokens = make_tokens()
    pca = TokenPCA(tokens)
    outside = tokens + 100 * torch.from_numpy(pca.pca.components_[1])
    colors, fitted = pca(outside), pca(tokens)
    np.testing.assert_allclose(colors[..., [0, 2]], fitted[..., [0, 2]])
    assert (colors[..., 1] == 1).all()


def test_rounding_noise_is_not_a_color() -> None:
    tokens = torch.linspace(-1, 1, 24).view(1, 4, 6, 1) * torch.arange(1, 9)
    colors = TokenPCA(tokens)(tokens)
    assert np.ptp(colors[..., 0]) == 1
    assert np.ptp(colors[..., 1:]) < 1e-2


def test_unfit_tokens_are_refused() -> None:
    tokens = make_tokens()
    with pytest.raises(ValueError, match='got 60 of 2'):
        TokenPCA(tokens[..., :2])
    with pytest.raises(ValueError, match='got 2 of 8'):
        TokenPCA(tokens[:, :1, :1])
    pca = TokenPCA(tokens)
    with pytest.raises(ValueError, match='NaN'):
        pca(tokens * float('nan'))
