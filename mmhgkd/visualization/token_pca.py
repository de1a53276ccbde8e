import numpy as np
from sklearn.decomposition import PCA
from torch import Tensor


class TokenPCA:
    """Shows patch tokens as colors, by their first principal components.

    The three components of the fitted tokens become red, green and blue. The
    middle 98 % of each component's values span the color range, so that
    single tokens with a large norm do not take the contrast of all others.
    Tokens of another model are shown with the same basis and range, so that
    equal features have equal colors.

    Args:
        tokens (Tensor): Tokens that define the basis, ``(..., D)``.

    Raises:
        ValueError: If there are fewer than three tokens or channels, or a
            token holds NaN or infinity.
    """

    def __init__(self, tokens: Tensor) -> None:
        rows = self._rows(tokens)
        if min(rows.shape) < 3:
            raise ValueError(
                'a PCA to three colors needs at least 3 tokens of 3 '
                f'channels, got {len(rows)} of {rows.shape[1]}'
            )
        # scikit-learn also fixes the signs, so that colors do not flip.
        self.pca = PCA(n_components=3, svd_solver='full').fit(rows)
        values = self.pca.transform(rows)
        self.low, high = np.percentile(values, [1, 99], axis=0)
        span = high - self.low
        # Components at the level of rounding noise stay dark.
        self.span = np.maximum(span, max(1e-3 * span.max(), 1e-12))

    def __call__(self, tokens: Tensor) -> np.ndarray:
        """Colors of tokens, ``(..., D)`` to ``(..., 3)`` in ``[0, 1]``."""
        values = self.pca.transform(self._rows(tokens))
        colors = ((values - self.low) / self.span).clip(0, 1)
        return colors.reshape(*tokens.shape[:-1], 3)

    @staticmethod
    def _rows(tokens: Tensor) -> np.ndarray:
        rows = tokens.detach().double().cpu().flatten(0, -2).numpy()
        if not np.isfinite(rows).all():
            raise ValueError('the tokens hold NaN or infinity')
        return rows
