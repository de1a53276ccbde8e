"""The table of the peers has the figures of the file that is drawn."""

import json
import re
import statistics
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / 'docs'
ROWS = {
    'random weights': 'untrained',
    'SparK (pixels)': "SparK's pixels",
    'lightly-train, distillation v2': 'lightly-train 0.18, `distillationv2`',
    'lightly-train with our targets': 'the same with our whitened targets',
    'mmhgkd': '**`r18_dinov2_folder.py`, two views',
}


@pytest.mark.parametrize('name', ROWS)
def test_table_and_picture_agree(name: str) -> None:
    text = (DOCS / 'peers.md').read_text().partition('### A strong teach')[2]
    line = next(
        line
        for line in text.splitlines()
        if line.startswith(f'| {ROWS[name]}')
    )
    cells = [cell.strip() for cell in line.split('|')[2:5]]
    content = json.loads((DOCS / 'peers' / 'photos.json').read_text())
    seeds = next(x['seeds'] for x in content['rows'] if x['name'] == name)
    assert len(seeds) == 3
    for task, cell in zip(('knn', 'linear', 'few'), cells, strict=True):
        values = [seed[task] for seed in seeds]
        shown = [float(x) for x in re.findall(r'[\d.]+', cell)]
        expected = [statistics.mean(values), statistics.stdev(values)]
        assert shown == pytest.approx(expected, abs=0.051)
