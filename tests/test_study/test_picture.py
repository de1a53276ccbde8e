from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from studies.comparison import Comparison, draw_differences, write_picture

from mmhgkd.report.curves import COLORS, MUTED

FOUND = {
    'kNN': Comparison(dict(b=2.5, c=-0.5, d=-3.0), 1.0, 6),
    'linear': Comparison(dict(b=0.25, c=4.0, d=-1.0), 2.0, 6),
}
BETTER, WORSE = COLORS[:2]


def test_points_colors_and_band() -> None:
    figure = draw_differences(FOUND, 'a')
    assert len(figure.axes) == 2
    colors = ([BETTER, MUTED, WORSE], [MUTED, BETTER, MUTED])
    for axis, (name, comparison), expected in zip(
        figure.axes, FOUND.items(), colors, strict=True
    ):
        assert axis.get_title('left') == name
        assert axis.get_xlabel() == 'points above a'
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
