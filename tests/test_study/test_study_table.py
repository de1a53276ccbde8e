from pathlib import Path

import pytest
from studies.results import result_path, write_result
from studies.study_file import Arm
from studies.table import mean_and_spread, results_table, write_table

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
            result_path(tmp_path, 'a', seed),
            dict(SETTINGS, seed=seed),
            dict(knn=knn, linear=10, finetune=20, few_labels=30),
        )
    write_result(
        result_path(tmp_path, 'b', 0),
        dict(SETTINGS, seed=0),
        dict(
            knn=1,
            linear=2,
            finetune=3,
            few_labels=4,
            images_per_second=50.06,
            pearson=0.5,
            gradient_feat=0.25,
        ),
    )
    write_result(tmp_path / 'teacher.json', SETTINGS, dict(knn=9, linear=8))
    table = results_table(tmp_path, ARMS, (0, 1, 2)).splitlines()
    assert table[0] == (
        '| arm | kNN | linear | fine-tune | 10 % labels | images/s | seeds |'
    )
    assert table[2:5] == [
        '| *teacher* | 9.0 | 8.0 | - | - | - | 1 |',
        '| a | 4.0 ± 2.0 | 10.0 ± 0.0 | 20.0 ± 0.0 | 30.0 ± 0.0 | - | 3 |',
        '| b | 1.0 | 2.0 | 3.0 | 4.0 | 50.1 | 1 |',
    ]
    assert table[8] == (
        '| arm | L_feat | Pearson | self entry | gradient of '
        'L_feat | gradient of L_sim | their cosine | seeds |'
    )
    assert table[10] == '| b | - | 0.500 | - | 0.250 | - | - | 1 |'
    assert table[12].startswith(
        '1,200 training and 300 validation images of 10 classes; '
    )
    assert '| 3.0 ± 1.4 |' in results_table(tmp_path, ARMS, (0, 1))


def test_differences(tmp_path: Path) -> None:
    found = dict(a=(1.0, 2.0, 3.0), b=(3.0, 4.0, 5.5), x=(2.0, 1.5, 4.0))
    for arm, values in found.items():
        for seed, value in enumerate(values):
            write_result(
                result_path(tmp_path, arm, seed),
                dict(SETTINGS, seed=seed),
                dict(knn=value, linear=8, finetune=8, few_labels=value),
            )
    arms = [Arm(name, 'x') for name in found]
    table = results_table(tmp_path, arms, (0, 1, 2), 'a')
    # Squares of the residuals 17 / 18, 4 degrees, t(0.975, 4) = 2.776:
    # 2.776 * sqrt(17 / 18 / 4 * 2 / 3) = 1.10.
    lines = table.splitlines()
    assert lines[6].startswith('Differences from `a`, ')
    assert (
        '(kNN 1.1, linear 0.0, fine-tune 0.0, 10 % labels 1.1; 4 degrees'
        in lines[6]
    )
    assert 'of the 8 below about 0 would be' in lines[6]
    assert lines[8:12] == [
        '| arm | kNN | linear | fine-tune | 10 % labels |',
        '| --- | --: | --: | --: | --: |',
        '| b | **+2.2** | +0.0 | +0.0 | **+2.2** |',
        '| x | +0.5 | +0.0 | +0.0 | +0.5 |',
    ]
    assert 'Differences' not in results_table(tmp_path, arms, (0, 1, 2))
    # One seed has no spread.
    assert 'Differences' not in results_table(tmp_path, arms, (0,), 'a')


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
        results_table(tmp_path, ARMS, (0,))
