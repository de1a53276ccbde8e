"""Files beside the code agree with it."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import mmhgkd

ROOT = Path(__file__).parents[2]


def test_citation() -> None:
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert {'cff-version', 'message', 'title', 'authors'} <= set(citation)
    assert citation['version'] == mmhgkd.__version__
    assert citation['license'] == 'Apache-2.0'
    (paper,) = citation['references']
    assert {'type', 'title', 'authors'} <= set(paper)
    assert '2309.09571' in paper['url']


def test_changelog_names_this_version() -> None:
    text = (ROOT / 'CHANGELOG.md').read_text()
    versions = re.findall(r'^## .*?(\d+\.\d+\.\d+)', text, re.MULTILINE)
    assert versions[0] == mmhgkd.__version__


def test_pre_commit_checks_with_the_versions_of_dev() -> None:
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    (ruff,) = (x for x in config['repos'] if 'ruff' in x['repo'])
    lines = (ROOT / 'requirements' / 'dev.txt').read_text().splitlines()
    (wanted,) = (
        Requirement(line) for line in lines if line.startswith('ruff')
    )
    assert wanted.specifier.contains(ruff['rev'].removeprefix('v'))
    (local,) = (x for x in config['repos'] if x['repo'] == 'local')
    entries = [hook['entry'] for hook in local['hooks']]
    assert entries == ['mypy', 'lint-imports']


@pytest.mark.parametrize('name', ['README.md', 'CONTRIBUTING.md'])
def test_links_lead_to_files(name: str) -> None:
    text = (ROOT / name).read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)#]+)', text):
        if '://' not in target:
            assert (ROOT / target).exists(), target
