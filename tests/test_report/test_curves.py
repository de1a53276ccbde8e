from collections.abc import Callable
from pathlib import Path

import pytest
from log_rows import evaluation_row, training_row
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmhgkd.report import RunRecord, curve_keys, draw_curves
from mmhgkd.utils import ConfigError

Write = Callable[..., Path]


@pytest.fixture
def records(write_run: Write) -> list[RunRecord]:
    first = [
        training_row(10, 1, loss=4.0, pearson=0.5),
        evaluation_row(1, top1=20.0),
        training_row(20, 2, loss=3.0, pearson=0.6),
    ]
    second = [training_row(20, 1, loss=2.0), training_row(40, 2, loss=1.0)]
    return [
        RunRecord(write_run('a/run', first)),
        RunRecord(write_run('b/run', second)),
    ]


def test_keys_begin_with_the_losses(records: list[RunRecord]) -> None:
    assert curve_keys(records) == ['loss', 'pearson', 'top1', 'lr']


def test_lines_show_the_log_over_epochs(records: list[RunRecord]) -> None:
    figure = draw_curves(records, ['loss', 'top1'])
    FigureCanvasAgg(figure).draw()
    loss, top1 = figure.axes
    lines = [line.get_xydata().tolist() for line in loss.get_lines()]
    assert lines == [[[1, 4], [2, 3]], [[1, 2], [2, 1]]]
    assert [line.get_xydata().tolist() for line in top1.get_lines()] == [
        # One value is a level from the start on, no dot.
        [[0, 20], [1, 20]]
    ]
    # The folders have equal names.
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ['a/run', 'b/run']
    assert loss.get_xlabel() == 'epoch'


def test_runs_without_epochs_are_drawn_over_iterations(
    records: list[RunRecord], write_run: Write
) -> None:
    third = RunRecord(write_run('c', [training_row(100, loss=1.0)]))
    axis = draw_curves([records[0], third], ['loss']).axes[0]
    lines = [line.get_xydata().tolist() for line in axis.get_lines()]
    assert lines == [[[10, 4], [20, 3]], [[0, 1], [100, 1]]]
    assert axis.get_xlabel() == 'iteration'


def test_single_run_names_the_last_value(records: list[RunRecord]) -> None:
    figure = draw_curves(records[:1])
    assert len(figure.axes) == 6
    assert [axis.get_visible() for axis in figure.axes] == [True] * 4 + [
        False
    ] * 2
    assert figure.axes[1].get_title('right') == '0.6'
    assert not figure.legends


def test_unknown_key(records: list[RunRecord]) -> None:
    with pytest.raises(ConfigError, match="'los'; there are loss, pearson"):
        draw_curves(records, ['los'])
