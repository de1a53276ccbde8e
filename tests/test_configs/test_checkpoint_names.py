"""A config goes on from a file that another one writes by default."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
#: The folder of a run that is not called as its config.
NAMES = {'quickstart/h-gkd': 'r18_quickstart'}
_FILE = re.compile(r"'work_dirs/([^']+)/(epoch|iter)_(\d+)\.pth'")
FOUND = sorted(
    {
        (str(path.relative_to(CONFIGS)), *match)
        for path in CONFIGS.rglob('*.py')
        for match in _FILE.findall(path.read_text(encoding='utf-8'))
    }
)


def test_there_are_some() -> None:
    assert len(FOUND) > 20
    assert set(NAMES) <= {run for _, run, _, _ in FOUND}


@pytest.mark.parametrize(('config', 'run', 'unit', 'number'), FOUND)
def test_it_is_the_last_of_the_run(
    config: str, run: str, unit: str, number: str
) -> None:
    name = NAMES.get(run, run)
    (path,) = CONFIGS.rglob(f'{name}.py')
    loop = Config.fromfile(path).train_cfg
    assert loop[f'max_{unit}s'] == int(number), config
