"""The results in the repository, the studies they are of, and the page."""

import json
from pathlib import Path

import pytest
from studies.results import arm_settings, read_result, result_path
from studies.study_file import Study, read_study
from studies.table import results_table

ROOT = Path(__file__).parents[2]
#: Studies of one teacher share a folder.
FOLDERS = {
    'clothing': ROOT / 'docs' / 'study' / 'clothing',
    'clothing_fresh': ROOT / 'docs' / 'study' / 'clothing',
    'photos': ROOT / 'docs' / 'study' / 'photos',
    'photos_fresh': ROOT / 'docs' / 'study' / 'photos',
    'photos_long': ROOT / 'docs' / 'study' / 'photos_long',
    'imagenette_photos': ROOT / 'docs' / 'study' / 'imagenette_photos',
    'direct': ROOT / 'docs' / 'study' / 'direct',
    'students': ROOT / 'docs' / 'study' / 'students',
    'scenes': ROOT / 'docs' / 'study' / 'scenes',
}
#: Studies of which not all arms and seeds have been run.
PARTIAL = (
    'photos',
    'photos_fresh',
    'photos_long',
    'imagenette_photos',
    'direct',
    'students',
    'scenes',
)
PAGE = (ROOT / 'docs' / 'study.md').read_text(encoding='utf-8')


def load(name: str) -> Study:
    return read_study(ROOT / 'configs' / 'study' / f'{name}.yml')


def paths(name: str) -> set[Path]:
    study = load(name)
    return {
        result_path(FOLDERS[name], arm.name, seed)
        for arm in study.arms
        for seed in study.seeds
    }


def test_every_result_belongs_to_a_study() -> None:
    shipped = set((ROOT / 'docs').rglob('results/*'))
    whole = set().union(*map(paths, set(FOLDERS) - {*PARTIAL}))
    assert whole <= shipped <= set().union(*map(paths, FOLDERS))
    for name in PARTIAL:
        assert shipped & paths(name)


def test_fresh_seeds_are_fresh() -> None:
    assert not paths('clothing') & paths('clothing_fresh')


@pytest.mark.parametrize('name', FOLDERS)
def test_results_are_those_of_the_study(name: str) -> None:
    study = load(name)
    for arm in study.arms:
        for seed in study.seeds:
            path = result_path(FOLDERS[name], arm.name, seed)
            if name in PARTIAL and not path.is_file():
                continue
            data = json.loads(path.read_text())['settings']['data']
            # Refuses other settings.
            assert read_result(path, arm_settings(study, arm, seed, data))


@pytest.mark.parametrize('name', FOLDERS)
def test_page_shows_the_results(name: str) -> None:
    study = load(name)
    table = results_table(
        FOLDERS[name], study.arms, study.seeds, study.reference
    )
    assert f'<!-- table {name} -->\n\n{table}\n<!-- end -->' in PAGE
