"""The configs that MMEngine stores, read without running them.

A config that its user names is a program. The one in a checkpoint or in the
folder of a run is data, and may be of unknown origin.
"""

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

from .errors import ConfigError

# Libraries evaluate some of these names as Python.
_NAMES = {'type': r'[\w./-]+', 'dtype': r'\w+'}
_NUMBERS = {'inf': math.inf, 'nan': math.nan}
#: Packages whose parts have a scope of their own, and those that have none.
_SCOPED = ('mmengine', 'mmpretrain', 'mmdet', 'mmseg', 'mmhgkd')
_PLAIN = ('mmcv', 'torch', 'torchvision')


def parse_config(text: str, source: str) -> dict[str, Any]:
    """Read the text of a config, ``Config.pretty_text``, as data.

    ``Config.fromstring`` runs the text as Python, and so would any code in a
    checkpoint of unknown origin. What MMEngine writes are literals and calls
    of ``dict``; classes, which it writes by the module that they are in,
    become the name that they are registered under, such as
    'mmpretrain.ResNet'.

    Raises:
        ConfigError: If the text holds anything else; ``source`` is its file.
    """
    try:
        return dict(_assignment(node) for node in ast.parse(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f'cannot read the config in {source}: it is more than values '
            f'({error}), and is not run; give the config of the training by '
            'its file or name where that is possible'
        ) from error


def _assignment(node: ast.stmt) -> tuple[str, Any]:
    if not isinstance(node, ast.Assign):
        raise ValueError(f'line {node.lineno} assigns nothing')
    name = ', '.join(ast.unparse(target) for target in node.targets)
    return name, _named(name, node.value)


def _named(name: Any, node: ast.expr) -> Any:
    """The value of a key, or ValueError if no config has such a one."""
    value = _value(node)
    if (
        name in _NAMES
        and isinstance(value, str)
        and not re.fullmatch(_NAMES[name], value)
    ):
        raise ValueError(f'line {node.lineno} has the {name} {value!r}')
    if name == 'type' and isinstance(value, str):
        return registered_name(value)
    return value


def registered_name(kind: str) -> str:
    """The name of a class of a known package, without its module.

    Args:
        kind (str): Such as 'mmpretrain.models.backbones.resnet.ResNet', or
            any other name of a type.

    Returns:
        str: Such as 'mmpretrain.ResNet', else the name as it is.
    """
    if kind.count('.') < 2:
        return kind
    package, *_, name = kind.split('.')
    if package in _SCOPED:
        return f'{package}.{name}'
    return name if package in _PLAIN else kind


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            raise ValueError(
                f'line {node.lineno} calls {ast.unparse(node.func)}'
            )
        items: dict[Any, Any] = {}
        for argument in node.args:
            items.update(_mapping(argument))
        for keyword in node.keywords:
            items[keyword.arg] = _named(keyword.arg, keyword.value)
        return items
    if isinstance(node, ast.Dict):
        return _mapping(node)
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return ast.unparse(node)
    return ast.literal_eval(node)


def _mapping(node: ast.expr) -> Mapping[Any, Any]:
    if not isinstance(node, ast.Dict) or None in node.keys:
        raise ValueError(f'line {node.lineno} is no mapping')
    items = {}
    for key, value in zip(node.keys, node.values, strict=True):
        assert key is not None
        name = _value(key)
        items[name] = _named(name, value)
    return items


def _number(node: ast.expr) -> int | float:
    value = _value(node)
    if not isinstance(value, (int, float)):
        raise ValueError(f'line {node.lineno} negates {value!r}')
    return value
