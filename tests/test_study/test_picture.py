from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from studies.comparison import Comparison, draw_differences, write_picture
from studies.study_file import read_study
from studies.words import HEADINGS

from mmhgkd.report.curves import COLORS, MUTED

CONFIGS = Path(__file__).parents[2] / 'configs' / 'study'
FOUND = {
    'kNN': Comparison(dict(b=2.5, c=-0.5, d=-3.0), 1.0, 6),
    'linear': Comparison(dict(b=0.25, c=4.0, d=-1.0), 2.0, 6),
}
BETTER, WORSE = COLORS[:2]


def test_points_colors_and_band() -> None:
    figure = draw_differences(FOUND, 'a', {})
    assert len(figure.axes) == 2
    colors = ([BETTER, MUTED, WORSE], [MUTED, BETTER, MUTED])
    for axis, (name, comparison), expected in zip(
        figure.axes, FOUND.items(), colors, strict=True
    ):
        assert axis.get_title('left') == HEADINGS[name]
        assert axis.get_xlabel() == 'points above it'
        points = axis.collections[-1]
        assert dict(np.array(points.get_offsets()).tolist()) == dict(
            zip(comparison.differences.values(), (3, 2, 1), strict=True)
        )
        assert [to_hex(color) for color in points.get_facecolors()] == expected
        band = (
            axis.patches[0]
            .get_extents()
            .transformed(axis.transData.inverted())
        )
        assert (band.x0, band.x1) == pytest.approx(
            (-comparison.least, comparison.least)
        )
    labels = figure.axes[0].get_yticklabels()
    assert [
        (label.get_text(), label.get_position()[1]) for label in labels
    ] == [('b', 3), ('c', 2), ('d', 1)]


@pytest.mark.parametrize('name', ['clothing', 'photos', 'direct'])
def test_shipped_arms_have_words(name: str) -> None:
    labels = [arm.label for arm in read_study(CONFIGS / f'{name}.yml').arms]
    assert all(labels) and len(set(labels)) == len(labels)


def test_words() -> None:
    """The title says what the band is, and no arm is left in code."""
    words = dict(feat='features alone', kl='Kullback-Leibler')
    found = {'kNN': Comparison(dict(mask_0_4=1.0, kl=2.0), 1.0, 6)}
    figure = draw_differences(found, 'feat', words)
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ['mask_0_4', words['kl']]
    text = ' '.join(figure.get_suptitle().split())
    assert 'points above "features alone"' in text and '19 of 20' in text


def row(seed: int, value: float) -> dict:
    metrics = dict.fromkeys(('knn', 'linear', 'finetune', 'few_labels'), value)
    return dict(settings=dict(seed=seed), metrics=metrics)


def test_file(tmp_path: Path) -> None:
    rows = {'a': [row(0, 1.0), row(1, 2.0)], 'b': [row(0, 3.0), row(1, 3.5)]}
    path = tmp_path / 'deep' / 'picture.png'
    write_picture(path, rows, 'a')
    assert Image.open(path).size[0] == 1620
    with pytest.raises(ValueError, match='cannot write the picture'):
        write_picture(tmp_path / 'picture.what', rows, 'a')
    for reference in (None, 'c'):
        with pytest.raises(ValueError, match='needs a `reference`'):
            write_picture(path, rows, reference)
