"""The table of students against the networks."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from mmhgkd.registry import MODELS

PAGE = Path(__file__).parents[2] / 'docs' / 'students.md'
ROWS = re.findall(
    r'^\| `dict\((.+)\)` \| ([\d.]+) M \| (\(.+\)) \|$',
    PAGE.read_text(encoding='utf-8'),
    re.MULTILINE,
)


def test_the_table_was_found() -> None:
    assert len(ROWS) > 10


@pytest.mark.parametrize(('options', 'millions', 'channels'), ROWS)
def test_student(options: str, millions: str, channels: str) -> None:
    call: Any = ast.parse(f'dict({options})', mode='eval').body
    config = {x.arg: ast.literal_eval(x.value) for x in call.keywords}
    network = MODELS.build(config)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert f'{count / 1e6:.1f}' == millions
    found = getattr(network, 'feature_channels', None)
    if found is None:  # a ResNet
        found = tuple(
            list(getattr(network, name).children())[-1].out_channels
            for name in network.res_layers
        )
    assert found == ast.literal_eval(channels)
