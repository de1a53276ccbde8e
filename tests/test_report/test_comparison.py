import csv
import io
from collections.abc import Callable
from pathlib import Path

from log_rows import evaluation_row, training_row

from mmhgkd.report import (
    RunRecord,
    compare_runs,
    describe_change,
    to_csv,
    to_markdown,
)

Write = Callable[..., Path]


def test_table(write_run: Write) -> None:
    rows = compare_runs(
        [
            RunRecord(
                write_run(
                    'a|b',
                    [
                        training_row(10, 1, loss=4.0),
                        training_row(20, 2, loss=1 / 3),
                        evaluation_row(2, top1=20.04),
                    ],
                )
            ),
            RunRecord(write_run('untrained', [evaluation_row(0, knn=12.0)])),
        ]
    )
    assert rows == [
        {
            'run': 'a|b',
            'epochs': '2',
            'iterations': '20',
            'loss': '0.3333',
            'top1': '20.04',
            'knn': '',
            'ms/iteration': '500',
            'images/s': '256',
        },
        {
            'run': 'untrained',
            'epochs': '',
            'iterations': '',
            'loss': '',
            'top1': '',
            'knn': '12',
            'ms/iteration': '',
            'images/s': '',
        },
    ]
    lines = to_markdown(rows).splitlines()
    assert lines[1].count('--:') == 7
    assert lines[2] == r'| a\|b | 2 | 20 | 0.3333 | 20.04 |  | 500 | 256 |'
    assert list(csv.DictReader(io.StringIO(to_csv(rows)))) == rows


def test_columns_that_no_run_has_are_left_out(write_run: Write) -> None:
    rows = compare_runs(
        [RunRecord(write_run('a', [evaluation_row(0, k=1.0)]))]
    )
    assert rows == [dict(run='a', k='1')]


def test_what_has_changed() -> None:
    row = {'knn': 1.0}
    results = dict(
        changed=81.6,
        metrics=dict(
            chance=dict(neighbors=5.03),
            untrained=dict(neighbors=21.0),
            distilled=dict(neighbors=43.21),
            teacher=dict(neighbors=100.0),
        ),
    )
    text = describe_change(results)
    for part in ('82 % of', '21.0 % before', '43.2 % now', '5.0 % by chance'):
        assert part in text
    assert 'higher is better' in text
    assert not describe_change({**results, 'changed': None})
    assert not describe_change(dict(changed=3.0, metrics=dict(distilled=row)))
    assert not describe_change({})
