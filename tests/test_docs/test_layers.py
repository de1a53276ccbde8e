"""The pages name the packages in the order that imports are checked in."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('page', ['README.md', 'CONTRIBUTING.md'])
def test_order_is_that_of_the_contract(page: str) -> None:
    settings = (ROOT / 'pyproject.toml').read_text()
    layers = re.findall(
        r"'(\w+)'", settings.split('layers = [')[1].split(']')[0]
    )
    packages = [name for name in layers if (ROOT / 'mmhgkd' / name).is_dir()]
    assert len(packages) > 10
    text = (ROOT / page).read_text()
    sentence = re.search(r'imports earlier ones only: (.+?)\.', text, re.S)
    assert sentence is not None
    assert re.findall(r'`(\w+)`', sentence[1]) == packages[::-1]
