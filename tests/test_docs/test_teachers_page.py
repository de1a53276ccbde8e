"""The table of teachers by name against timm and the catalog."""

import re
from pathlib import Path

import pytest
import timm
import torch

from mmhgkd.catalog import TEACHERS
from mmhgkd.teachers.timm_network import find_patch_size
from mmhgkd.teachers.timm_stages import STAGED, choose_stages
from mmhgkd.teachers.timm_teacher import TimmTeacher

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'teachers.md').read_text(encoding='utf-8')
ROWS = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in PAGE.split('## Teachers by name')[1]
    .split('\n## ')[0]
    .splitlines()
    if line.startswith('| `vit_') or line.startswith('| `hiera_')
]
LICENCES = {
    'apache-2.0': 'Apache-2.0',
    'cc-by-nc-4.0': 'CC BY-NC 4.0',
    'dinov3-license': 'DINOv3 License',
}


@pytest.mark.parametrize('row', ROWS, ids=[row[0] for row in ROWS])
def test_is_what_timm_says(row: list[str]) -> None:
    name = row[0].strip('`')
    _, method, licence, patch, width, file = row
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    assert config.num_classes == 0
    assert LICENCES[config.license] == licence
    url = re.findall(r'\((.+)\)', file)[0]
    if config.hf_hub_id:
        assert config.hf_hub_id in ('timm/', f'timm/{name}')
        assert url == f'https://huggingface.co/timm/{name}'
    else:
        assert url == config.url
    with torch.device('meta'):
        network = timm.create_model(name, num_classes=0)
    if isinstance(network, STAGED):
        stage = choose_stages(network, None, -1, TimmTeacher.check_layers)[0]
        found = (stage.stride, stage.width)
    else:
        found = (find_patch_size(network), network.embed_dim)
    assert found == (int(patch.split()[0]), int(width))
    if name in TEACHERS:
        entry = TEACHERS[name]
        assert (entry.method, entry.licence) == (method, licence)


def test_has_all_of_the_catalog_and_of_hiera() -> None:
    names = {row[0].strip('`') for row in ROWS}
    assert names >= set(TEACHERS)
    of_timm = timm.list_models(pretrained=True)
    assert names >= {
        name
        for name in of_timm
        if re.match('(vit|hiera)_.*(\\.mae|_ijepa|\\.dino)$', name)
    }
