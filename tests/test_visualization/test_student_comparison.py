import numpy as np
import pytest
import torch

from mmhgkd.report.pieces import GAP, HEADER
from mmhgkd.visualization import TokenPCA, student_panel


def test_each_column_has_its_own_basis() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 32, 48, generator=generator)
    features = dict(
        one=torch.randn(2, 2, 3, 8, generator=generator),
        other=torch.randn(2, 4, 6, 5, generator=generator),
    )
    panel = student_panel(images, features, height=32)
    for row in range(2):
        top = HEADER + row * (32 + GAP)
        picture = panel[top : top + 32, GAP : GAP + 48]
        expected = 255 * images[row].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(picture, expected, atol=1)
        for column, (name, size) in enumerate((('one', 16), ('other', 8))):
            left = GAP + (column + 1) * (48 + GAP) + size // 2
            top = HEADER + row * (32 + GAP) + size // 2
            shown = panel[top : top + 32 : size, left : left + 48 : size]
            shown = shown[: 32 // size, : 48 // size]
            colors = TokenPCA(features[name])(features[name])[row]
            np.testing.assert_allclose(shown, 255 * colors, atol=1)


def test_features_of_other_images_are_refused() -> None:
    images = torch.rand(2, 3, 32, 32)
    for maps in (torch.rand(1, 4, 4, 8), torch.rand(2, 16, 8)):
        with pytest.raises(ValueError, match="features of 'a' must be maps"):
            student_panel(images, dict(a=maps))
