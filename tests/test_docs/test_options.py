"""The page of all options against the code and the config."""

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmhgkd.registry import MODELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'options.md').read_text(encoding='utf-8')


def sections() -> dict[tuple[str, ...], list[list[str]]]:
    """Rows of the table below each heading, by the classes it names."""
    found = {}
    for text in PAGE.split('\n## ')[1:]:
        heading, body = text.split('\n', 1)
        names = tuple(re.findall(r'`(\w+)`', heading.split(':')[0]))
        lines = [x for x in body.splitlines() if x.startswith('|')][2:]
        found[names] = [
            [cell.strip() for cell in line.strip('|').split('|')]
            for line in lines
        ]
    return found


TABLES = sections()
CLASSES = [name for names in TABLES for name in names]


def arguments(name: str) -> dict[str, Any]:
    """Arguments that a class has itself, and their defaults."""
    cls: Callable = MODELS.get(name)
    return {
        argument.name: argument.default
        for argument in inspect.signature(cls).parameters.values()
        if argument.kind is not argument.VAR_KEYWORD
    }


def test_every_class_of_a_model_is_there() -> None:
    documented = set(CLASSES)
    config = Config.fromfile(ROOT / 'configs' / 'hgkd' / 'r50_mae.py')
    used = set(re.findall(r"'mmhgkd\.(\w+)'", str(config.model.to_dict())))
    assert used
    assert used <= documented
    parts = ('teachers', 'masks', 'backbones', 'necks', 'losses', 'algorithms')
    MODELS.import_from_location()
    registered = {
        name
        for name, cls in MODELS.module_dict.items()
        if cls.__module__.split('.')[1] in parts
    }
    assert documented == registered


@pytest.mark.parametrize('name', CLASSES)
def test_arguments_and_defaults(name: str) -> None:
    names = next(names for names in TABLES if name in names)
    column = names.index(name)
    documented = {}
    for option, default, origin, meaning in TABLES[names]:
        if option == 'others':
            continue
        assert re.match('paper$|ours(, as .+)?$', origin), option
        assert meaning
        # Classes that share a table have a default each.
        defaults = re.split(r', (?![^(]*\))', default)
        text = (
            defaults[column]
            if len(names) > 1 and len(defaults) > 1
            else default
        )
        if text == '-':
            continue
        documented[option.strip('`')] = (
            inspect.Parameter.empty
            if (text == 'required')
            else ast.literal_eval(text.strip('`'))
        )
    assert documented == arguments(name)


def test_recipe() -> None:
    rows = TABLES[()]
    config = Config.fromfile(ROOT / 'configs' / 'hgkd' / 'r50_mae.py')
    assert len(rows) > 10
    for option, value, _ in rows:
        node: Any = config
        for key in option.strip('`').split('.'):
            node = node[int(key)] if isinstance(node, list) else node[key]
        assert node == ast.literal_eval(value.strip('`')), option
