import numpy as np
import pytest
from skimage.draw import polygon2mask
from skimage.measure import euler_number, label

from mmhgkd.datasets.scenes import SHAPES
from mmhgkd.datasets.scenes.shapes import shape_contours


def raster(name: str, pixels: int = 400, span: float = 3.0) -> np.ndarray:
    """The shape on a grid over [-span / 2, span / 2), by another library."""
    mask = np.zeros((pixels, pixels), bool)
    for contour in shape_contours(name):
        mask ^= polygon2mask(
            mask.shape, (contour[:, ::-1] / span + 0.5) * pixels - 0.5
        )
    return mask


@pytest.mark.parametrize('name', SHAPES)
def test_unit_area_and_centroid(name: str) -> None:
    mask = raster(name)
    pixel = 3.0 / 400
    assert not mask[0].any() and not mask[-1].any()
    assert not mask[:, 0].any() and not mask[:, -1].any()
    assert mask.sum() * pixel**2 == pytest.approx(1, abs=0.015)
    rows, columns = mask.nonzero()
    centroid = np.array([columns.mean(), rows.mean()]) - 199.5
    np.testing.assert_allclose(centroid * pixel, 0, atol=0.01)


@pytest.mark.parametrize('name', SHAPES)
def test_topology(name: str) -> None:
    mask = raster(name)
    assert label(mask).max() == 1
    assert euler_number(mask) == (0 if name == 'ring' else 1)


def test_shapes_differ() -> None:
    masks = np.stack([raster(name) for name in SHAPES]).reshape(10, -1)
    union = (masks[:, None] | masks).sum(-1)
    overlap = (masks[:, None] & masks).sum(-1) / union
    np.fill_diagonal(overlap, 0)
    assert overlap.max() < 0.95


def test_unknown_shape() -> None:
    with pytest.raises(ValueError, match="unknown shape 'blob'"):
        shape_contours('blob')
