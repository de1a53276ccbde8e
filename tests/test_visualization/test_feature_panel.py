from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from mmhgkd.masks import RandomUnitMask
from mmhgkd.visualization import TokenPCA, feature_panel, save_panel
from mmhgkd.visualization.feature_panel import GAP, GREY, HEADER, token_error

HEIGHT, WIDTH = 64, 96


def make_inputs() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (2, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)
    visible = RandomUnitMask()(2, HEIGHT, WIDTH).visible(1)
    teacher = torch.randn(2, 4, 6, 8, generator=generator)
    student = torch.randn(2, 4, 6, 8, generator=generator)
    return dict(
        images=images, visible=visible, student=student, teacher=teacher)


def tiles(panel: np.ndarray, column: int) -> np.ndarray:
    """The pixels of a column, ``(B, H, W, 3)``."""
    left = GAP + column * (WIDTH + GAP)
    tops = [HEADER + row * (HEIGHT + GAP) for row in range(2)]
    return np.stack(
        [panel[top:top + HEIGHT, left:left + WIDTH] for top in tops])


def tokens(panel: np.ndarray, column: int) -> np.ndarray:
    """The pixels of a column at the centre of each token."""
    return tiles(panel, column)[:, 8::16, 8::16]


@pytest.mark.parametrize('height', [31, 64, 97, 150])
@pytest.mark.parametrize('width', [32, 96, 224])
def test_size_of_the_panel(height: int, width: int) -> None:
    panel = feature_panel(
        torch.rand(1, 3, 64, width),
        torch.ones(1, 1, 64, width, dtype=torch.bool),
        torch.randn(1, 2, 3, 4),
        torch.randn(1, 2, 3, 4),
        height=height)
    columns = 5 * (round(height * width / 64) + GAP)
    colour_bar = 62  # and its labels
    assert panel.dtype == np.uint8
    assert panel.shape == (HEADER + height + GAP, GAP + columns + colour_bar,
                           3)


def test_image_columns_show_the_pixels() -> None:
    inputs = make_inputs()
    reconstruction = inputs['images'].flip(3)
    panel = feature_panel(
        **inputs, reconstruction=reconstruction, height=HEIGHT)
    images = inputs['images'].permute(0, 2, 3, 1).numpy()
    seen = inputs['visible'].permute(0, 2, 3, 1).numpy()
    grey = round(255 * float(GREY))
    assert 0 < seen.mean() < 1
    np.testing.assert_array_equal(tiles(panel, 0), images)
    np.testing.assert_allclose(
        tiles(panel, 1), np.where(seen, images, grey), atol=1)
    np.testing.assert_array_equal(tiles(panel, 2), images[:, :, ::-1])


def test_float_images_equal_uint8_images() -> None:
    inputs = make_inputs()
    panel = feature_panel(**inputs)
    inputs['images'] = inputs['images'].float() / 255
    np.testing.assert_array_equal(feature_panel(**inputs), panel)


def test_token_columns_share_the_basis_of_the_teacher() -> None:
    inputs = make_inputs()
    panel = feature_panel(**inputs, height=HEIGHT)
    pca = TokenPCA(inputs['teacher'])
    for column, name in ((2, 'teacher'), (3, 'student')):
        np.testing.assert_allclose(
            tokens(panel, column), 255 * pca(inputs[name]), atol=1)


@pytest.mark.parametrize('distance', ['mse', 'cosine'])
def test_error_column_is_the_error_of_each_token(distance: str) -> None:
    inputs = make_inputs()
    panel = feature_panel(**inputs, distance=distance, height=HEIGHT)
    expected = np.zeros((2, 4, 6))
    for index in np.ndindex(expected.shape):
        s, t = (
            inputs[k][index].double().numpy() for k in ('student', 'teacher'))
        if distance == 'mse':
            expected[index] = sum((s - t)**2) / 8
        else:
            expected[index] = 1 - s @ t / np.sqrt(s @ s) / np.sqrt(t @ t)
    np.testing.assert_allclose(
        token_error(inputs['student'], inputs['teacher'], distance), expected)
    colours = matplotlib.colormaps['inferno'](expected / expected.max())
    np.testing.assert_allclose(
        tokens(panel, 4), 255 * colours[..., :3], atol=1)


@pytest.mark.parametrize('distance', ['mse', 'cosine'])
def test_perfect_student_has_no_error(distance: str) -> None:
    inputs = make_inputs()
    inputs['student'] = inputs['teacher'].clone()
    panel = feature_panel(**inputs, distance=distance, height=HEIGHT)
    np.testing.assert_array_equal(tiles(panel, 2), tiles(panel, 3))
    zero = np.array(matplotlib.colormaps['inferno'](0.0)[:3]) * 255
    assert np.abs(tiles(panel, 4) - zero).max() < 1


def test_panel_is_deterministic_and_can_be_saved(tmp_path: Path) -> None:
    inputs = make_inputs()
    path = tmp_path / 'figures' / 'panel.png'
    save_panel(path, **inputs, distance='cosine', height=50)
    panel = feature_panel(**inputs, distance='cosine', height=50)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), panel)


@pytest.mark.parametrize(('change', 'message'), [
    (dict(images=torch.randn(2, 3, HEIGHT, WIDTH)), 'undo the normalisation'),
    (dict(images=torch.ones(2, 1, HEIGHT, WIDTH)), '`images` must be RGB'),
    (dict(visible=torch.ones(2, 1, 2, 3, dtype=torch.bool)), 'visible'),
    (dict(visible=torch.ones(2, 1, HEIGHT, WIDTH)), 'must be bool'),
    (dict(student=torch.randn(2, 24, 8)), '`student` and `teacher`'),
    (dict(student=torch.full((2, 4, 6, 8), float('nan'))), 'NaN'),
    (dict(teacher=torch.randn(2, 4, 6, 9)), '`student` and `teacher`'),
    (dict(reconstruction=torch.rand(2, 3, 8, 8)), '`reconstruction`'),
    (dict(distance='l1'), "'mse', 'cosine'"),
    (dict(height=0), '`height`'),
])
def test_wrong_inputs_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        feature_panel(**{**make_inputs(), **change})
