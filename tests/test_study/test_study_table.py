from pathlib import Path

import pytest

from mmhgkd.study import Arm, results_table, write_table
from mmhgkd.study.results import result_path, write_result
from mmhgkd.study.table import mean_and_spread

ARMS = [Arm('a', 'hgkd/r18_scenes'), Arm('b', 'x'), Arm('none', 'x')]
SETTINGS = dict(data=dict(train=1200, val=300, classes=10))


def test_mean_and_spread_by_hand() -> None:
    # Mean 4, squares 4 + 0 + 4, over 3 - 1.
    assert mean_and_spread([2, 4, 6]) == '4.0 ± 2.0'
    # Mean 52.25, squares 2 * 0.5625 + 2 * 0.0625, over 3: 0.6455.
    assert mean_and_spread([51.5, 52.0, 52.5, 53.0], 3) == '52.250 ± 0.645'
    assert mean_and_spread([7.25]) == '7.2'
    assert mean_and_spread([]) == '-'


def test_table(tmp_path: Path) -> None:
    for seed, knn in enumerate((2.0, 4.0, 6.0)):
        write_result(
            result_path(tmp_path, 'a', seed), SETTINGS,
            dict(knn=knn, linear=10, finetune=20, few_labels=30))
    write_result(
        result_path(tmp_path, 'b', 0), SETTINGS,
        dict(
            knn=1,
            linear=2,
            finetune=3,
            few_labels=4,
            images_per_second=50.06,
            gradient_feat=0.25))
    write_result(tmp_path / 'teacher.json', SETTINGS, dict(knn=9, linear=8))
    table = results_table(tmp_path, ARMS, (0, 1, 2)).splitlines()
    assert table[0] == ('| arm | kNN | linear | fine-tune | 10 % labels | '
                        'images/s | gradient feat | seeds |')
    assert table[2:5] == [
        '| *teacher* | 9.0 | 8.0 | - | - | - | - | 1 |',
        '| a | 4.0 ± 2.0 | 10.0 ± 0.0 | 20.0 ± 0.0 | 30.0 ± 0.0 | - | - | 3 |',
        '| b | 1.0 | 2.0 | 3.0 | 4.0 | 50.1 | 0.250 | 1 |'
    ]
    assert table[6].startswith('1,200 training and 300 validation images of '
                               '10 classes; ')
    assert '| 3.0 ± 1.4 |' in results_table(tmp_path, ARMS, (0, 1))


def test_page_without_a_place(tmp_path: Path) -> None:
    page = tmp_path / 'page.md'
    page.write_text('<!-- table other -->\n<!-- end -->\n')
    with pytest.raises(ValueError, match='no place for the table'):
        write_table(page, 'tiny', '| a |\n')


def test_damaged_result(tmp_path: Path) -> None:
    path = result_path(tmp_path, 'a', 0)
    path.parent.mkdir()
    path.write_text('{')
    with pytest.raises(ValueError, match='is no result of a study'):
        results_table(tmp_path, ARMS, (0, ))
