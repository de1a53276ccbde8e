from typing import Any

import matplotlib
import numpy as np
import pytest
import torch

from mmhgkd.masks import RandomUnitMask
from mmhgkd.report.pieces import CAPTION_LINE, GAP, HEADER
from mmhgkd.visualization import Saliency, TokenPCA, feature_panel
from mmhgkd.visualization.feature_panel import token_error
from mmhgkd.visualization.tile_grid import GRAY

HEIGHT, WIDTH = 64, 96


def make_inputs() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (2, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator
    )
    visible = RandomUnitMask()(2, HEIGHT, WIDTH).visible(1)
    teacher = torch.randn(2, 4, 6, 8, generator=generator)
    student = torch.randn(2, 4, 6, 8, generator=generator)
    return dict(
        images=images, visible=visible, student=student, teacher=teacher
    )


def tiles(panel: np.ndarray, column: int) -> np.ndarray:
    """The pixels of a column, ``(B, H, W, 3)``."""
    left = GAP + column * (WIDTH + GAP)
    tops = [HEADER + row * (HEIGHT + GAP) for row in range(2)]
    return np.stack(
        [panel[top : top + HEIGHT, left : left + WIDTH] for top in tops]
    )


def tokens(panel: np.ndarray, column: int) -> np.ndarray:
    """The pixels of a column at the center of each token."""
    return tiles(panel, column)[:, 8::16, 8::16]


@pytest.mark.parametrize('height', [31, 64, 97, 150])
@pytest.mark.parametrize('width', [32, 96, 224])
def test_size_of_the_panel(height: int, width: int) -> None:
    panel = feature_panel(
        torch.rand(1, 3, 64, width),
        torch.ones(1, 1, 64, width, dtype=torch.bool),
        torch.randn(1, 2, 3, 4),
        torch.randn(1, 2, 3, 4),
        height=height,
    )
    columns = 5 * (round(height * width / 64) + GAP)
    color_bar = 62  # and its labels
    caption = panel.shape[0] - (HEADER + height + GAP)
    assert panel.dtype == np.uint8
    assert panel.shape[1] == GAP + columns + color_bar
    assert caption > 0 and caption % CAPTION_LINE == 0
    # The text is there, and within the picture.
    text = (panel[-caption:] < 128).all(-1)
    assert text.any() and not text[:, -2:].any()


def test_image_columns_show_the_pixels() -> None:
    inputs = make_inputs()
    reconstruction = inputs['images'].flip(3)
    panel = feature_panel(
        **inputs, reconstruction=reconstruction, height=HEIGHT
    )
    images = inputs['images'].permute(0, 2, 3, 1).numpy()
    seen = inputs['visible'].permute(0, 2, 3, 1).numpy()
    gray = round(255 * float(GRAY))
    assert 0 < seen.mean() < 1
    np.testing.assert_array_equal(tiles(panel, 0), images)
    np.testing.assert_allclose(
        tiles(panel, 1), np.where(seen, images, gray), atol=1
    )
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
            tokens(panel, column), 255 * pca(inputs[name]), atol=1
        )


def test_error_column_is_the_error_of_each_token() -> None:
    inputs = make_inputs()
    panel = feature_panel(**inputs, height=HEIGHT)
    expected = np.zeros((2, 4, 6))
    for index in np.ndindex(expected.shape):
        s, t = (
            inputs[k][index].double().numpy() for k in ('student', 'teacher')
        )
        expected[index] = sum((s - t) ** 2) / 8
    np.testing.assert_allclose(
        token_error(inputs['student'], inputs['teacher']), expected
    )
    colors = matplotlib.colormaps['inferno'](expected / expected.max())
    np.testing.assert_allclose(tokens(panel, 4), 255 * colors[..., :3], atol=1)


def test_perfect_student_has_no_error() -> None:
    inputs = make_inputs()
    inputs['student'] = inputs['teacher'].clone()
    panel = feature_panel(**inputs, height=HEIGHT)
    np.testing.assert_array_equal(tiles(panel, 2), tiles(panel, 3))
    zero = np.array(matplotlib.colormaps['inferno'](0.0)[:3]) * 255
    assert np.abs(tiles(panel, 4) - zero).max() < 1


def test_panel_is_deterministic() -> None:
    inputs = make_inputs()
    panel = feature_panel(**inputs, height=50)
    np.testing.assert_array_equal(feature_panel(**inputs, height=50), panel)


def test_error_is_left_out_where_it_does_not_count() -> None:
    inputs = make_inputs()
    counted = torch.zeros(2, 4, 6, dtype=torch.bool)
    counted[0, 1, 2] = counted[1, 0, 5] = True
    # What is left out must not set the scale either.
    inputs['student'][1, 3, 3] += 100
    panel = feature_panel(**inputs, counted=counted, height=HEIGHT)
    error = token_error(inputs['student'], inputs['teacher'])
    scale = error[counted.numpy()].max()
    colors = matplotlib.colormaps['inferno'](error / scale)[..., :3]
    expected = np.where(counted[..., None], colors, GRAY)
    np.testing.assert_allclose(tokens(panel, 4), 255 * expected, atol=1)
    counted[:] = False
    panel = feature_panel(**inputs, counted=counted, height=HEIGHT)
    np.testing.assert_allclose(tokens(panel, 4), 255 * GRAY, atol=1)


def test_tokens_that_the_student_does_not_give_are_gray() -> None:
    inputs = make_inputs()
    given = torch.rand(2, 4, 6) < 0.5
    whole = tokens(feature_panel(**inputs, height=HEIGHT), 3)
    panel = feature_panel(**inputs, predicted=given, height=HEIGHT)
    expected = np.where(given[..., None], whole, 255 * GRAY)
    np.testing.assert_allclose(tokens(panel, 3), expected, atol=1)


def test_saliency_column_shows_units_and_frames_the_token() -> None:
    inputs = make_inputs()
    units = torch.rand(2, 2, 3) * inputs['visible'][:, 0, ::32, ::32]
    # Tokens 0, 0 and 3, 5 of a grid of 4x6.
    saliency = Saliency(units, torch.tensor([[0, 0], [3, 5]]))
    panel = feature_panel(**inputs, saliency=saliency, height=HEIGHT)
    shown = tiles(panel, 4)
    for index in np.ndindex(2, 2, 3):
        image, row, column = index
        seen = bool(inputs['visible'][image, 0, 32 * row, 32 * column])
        share = float(units[index] / units[image].max())
        color = matplotlib.colormaps['inferno'](share)[:3]
        expected = 255 * np.array(color if seen else [GRAY] * 3)
        # Beside the frames, which lie in two corners.
        corner = shown[image, 32 * row + 20, 32 * column + 12]
        np.testing.assert_allclose(corner, expected, atol=1)
    assert (shown[0, 0, :16] == 255).all() and (shown[0, :16, 15] == 255).all()
    assert (shown[1, -1, -16:] == 255).all()
    assert not (shown[1, 0, :16] == 255).all()
    np.testing.assert_array_equal(
        tiles(panel, 5), tiles(feature_panel(**inputs, height=HEIGHT), 4)
    )


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            dict(images=torch.randn(2, 3, HEIGHT, WIDTH)),
            'undo the normalization',
        ),
        (dict(images=torch.ones(2, 1, HEIGHT, WIDTH)), '`images` must be RGB'),
        (dict(visible=torch.ones(2, 1, 2, 3, dtype=torch.bool)), 'visible'),
        (dict(visible=torch.ones(2, 1, HEIGHT, WIDTH)), 'must be bool'),
        (dict(student=torch.randn(2, 24, 8)), '`student` and `teacher`'),
        (dict(student=torch.full((2, 4, 6, 8), float('nan'))), 'NaN'),
        (dict(teacher=torch.randn(2, 4, 6, 9)), '`student` and `teacher`'),
        (dict(reconstruction=torch.rand(2, 3, 8, 8)), '`reconstruction`'),
        (dict(height=0), '`height`'),
        (dict(counted=torch.ones(2, 4, 6)), '`counted`'),
    ],
)
def test_wrong_inputs_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        feature_panel(**{**make_inputs(), **change})
