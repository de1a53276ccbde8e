import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmhgkd.apis.distillation.pictures import save_neighbors
from mmhgkd.report.pieces import (
    COLOR_BAR,
    COLOR_BAR_LABELS,
    GAP,
    HEADER,
    TILE,
    cut,
    in_pieces,
)
from mmhgkd.visualization.tile_grid import draw_tiles

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(('name', 'scale'), [('panel', 1), ('students', 0)])
def test_columns_of_panels(name: str, scale: int) -> None:
    """The cuts lie between the columns that are drawn."""
    tiles = np.zeros((2, 4, 4, 3))
    columns = {title: tiles for title in ('a', 'b', 'c')}
    if scale:
        columns['d'] = tiles[..., 0]
    panel = draw_tiles(columns, 224, 224, 40 * 'word ', bool(scale))
    height, width = panel.shape[:2]
    found = cut(f'{name}.png', width, height)
    assert found is not None and len(found.edges) == len(columns)
    dark = panel[200].max(-1) < 10
    for left, right in found.edges:
        # Beside the last one is the scale, with a frame.
        assert dark[left : min(right, left + 232)].sum() == 224
    # Of the caption nothing is left, of the pictures everything.
    assert found.bottom == 30 + 2 * 232
    assert found.row >= found.edges[1][1]


def test_the_pages_cut_alike() -> None:
    """The script of the documentation has the sizes of a panel."""
    script = ROOT / 'docs' / '_static' / 'pictures.js'
    sizes = dict(re.findall(r'([A-Z]+) = (\d+)', script.read_text()))
    assert {name: int(size) for name, size in sizes.items()} == {
        'TILE': TILE + GAP,
        'EDGE': GAP,
        'BAR': COLOR_BAR + COLOR_BAR_LABELS,
        'HEADER': HEADER,
    }
    for name in ('panel', 'students'):
        with Image.open(script.with_name(f'{name}.png')) as picture:
            found = cut(f'{name}.png', *picture.size)
        assert found is not None and len(found.edges) == 5


def test_what_is_not_cut() -> None:
    assert cut('panel.png', 1200, 400) is None
    assert cut('mine.png', 8 + 3 * 232, 30 + 232) is None
    assert cut('neighbors_before.png', 500, 400) is None


def test_each_block_of_neighbors_has_the_photo(tmp_path: Path) -> None:
    files = []
    for index in range(6):
        files.append(str(tmp_path / f'{index}.png'))
        Image.new('RGB', (9, 9)).save(files[-1])
    rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    path = tmp_path / 'neighbors_before.png'
    save_neighbors(path, files, {'a': rows, 'b': -rows, 'c': rows.abs()})
    with Image.open(path) as picture:
        size = picture.size
        dark = np.asarray(picture)[60].max(-1) < 10
    found = cut(path.name, *size)
    assert found is not None
    shown = [dark[left:right].sum() / 96 for left, right in found.edges]
    assert shown == [1, 3, 3, 3]
    html = in_pieces(found, 'x', 'data:y', *size)
    order = re.findall(r'<i( class="again")?', html)
    assert [bool(text) for text in order] == [0, 0, 1, 0, 1, 0]
    assert html.count('data:y') == 1
