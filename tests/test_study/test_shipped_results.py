"""The results in the repository, the studies they are of, and the page."""

import json
from pathlib import Path

import pytest

from mmhgkd.study import read_study, results_table
from mmhgkd.study.results import read_result, result_path
from mmhgkd.study.run_arm import arm_settings

ROOT = Path(__file__).parents[2]
RESULTS = sorted(path.parent for path in (ROOT / 'docs').rglob('results/'))
PAGE = (ROOT / 'docs' / 'study.md').read_text(encoding='utf-8')


def test_there_are_results() -> None:
    assert [path.name for path in RESULTS] == ['clothing']


@pytest.mark.parametrize('folder', RESULTS, ids=lambda path: path.name)
def test_results_are_those_of_the_study(folder: Path) -> None:
    study = read_study(ROOT / 'configs' / 'study' / f'{folder.name}.yml')
    wanted = set()
    for arm in study.arms:
        for seed in study.seeds:
            path = result_path(folder, arm.name, seed)
            data = json.loads(path.read_text())['settings']['data']
            # Refuses other settings.
            assert read_result(path, arm_settings(study, arm, seed, data))
            wanted.add(path)
    assert set((folder / 'results').iterdir()) == wanted


@pytest.mark.parametrize('folder', RESULTS, ids=lambda path: path.name)
def test_page_shows_the_results(folder: Path) -> None:
    study = read_study(ROOT / 'configs' / 'study' / f'{folder.name}.yml')
    table = results_table(folder, study.arms, study.seeds, study.reference)
    assert f'<!-- table {study.name} -->\n\n{table}\n<!-- end -->' in PAGE
