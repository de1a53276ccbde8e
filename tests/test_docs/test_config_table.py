"""The tables of the model zoo."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'model_zoo.md').read_text(encoding='utf-8')
NAMES = sorted(
    str(path.relative_to(ROOT / 'configs'))
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)

sys.path.insert(0, str(ROOT / 'docs' / '_ext'))
from config_table import CONFIGS, describe  # noqa: E402


def test_every_folder_of_configs_has_a_table() -> None:
    listed = re.findall(r'{config-table} (.+)', PAGE)
    assert len(listed) == len(set(listed))
    assert set(listed) == {str(Path(name).parent) for name in NAMES}


@pytest.mark.parametrize('name', NAMES)
def test_every_config_has_a_row_without_a_claim(name: str) -> None:
    row = describe(CONFIGS / name)
    assert row['config'] == f'`{name}`'
    assert all(row.values())
    assert row['result'] in (
        'not yet run at full scale',
        'for small data; no reference figure',
    )


@pytest.mark.parametrize(
    ('name', 'row'),
    [
        (
            'hgkd/r50_mae-large.py',
            ['MAE ViT-L/16', 'ResNet-50', '300 epochs', '256'],
        ),
        ('hgkd/r50_beit.py', ['BEiT-B/16', 'ResNet-50', '300 epochs', '256']),
        (
            'hgkd/r18_quickstart.py',
            [
                'MAE ViT, 5 blocks of width 192',
                'ResNet-18, 32 channels',
                '5 epochs',
                '32',
            ],
        ),
        (
            'spark/r50_pixels.py',
            ['none (pixels)', 'ResNet-50', '300 epochs', '512'],
        ),
        (
            'hgkd/cspnext-tiny_folder.py',
            [
                'MAE ViT, 5 blocks of width 192',
                'CSPNeXt of mmdet',
                '20 epochs',
                '64',
            ],
        ),
        (
            'hgkd/efficientnet-lite0_dinov2_folder.py',
            [
                'vit_small_patch14_dinov2.lvd142m of timm',
                'tf_efficientnet_lite0 of timm',
                '20 epochs',
                '64',
            ],
        ),
        ('mae/vit-tiny.py', ['MAE ViT-Ti/16', '300 epochs', '512']),
    ],
)
def test_values(name: str, row: list[str]) -> None:
    values = list(describe(CONFIGS / name).values())[1:-1]
    assert [
        value.replace('\N{NO-BREAK SPACE}', ' ') for value in values
    ] == row
