"""The config that MMEngine stores in a checkpoint, read without running it."""

import ast
from collections.abc import Mapping
from typing import Any

from mmhgkd.utils import ConfigError


def parse_config(text: str, source: str) -> dict[str, Any]:
    """Read the text of a config, ``Config.pretty_text``, as data.

    ``Config.fromstring`` runs the text as Python, and so would any code in a
    checkpoint of unknown origin. What MMEngine writes are literals and calls
    of ``dict``; types, which it writes by their dotted name, become that
    name.

    Raises:
        ConfigError: If the text holds anything else; ``source`` is its file.
    """
    try:
        return dict(_assignment(node) for node in ast.parse(text).body)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(
            f'{source}: the config in this checkpoint is more than values '
            f'({error}), and is not run; give the config by its file or '
            'name'
        ) from error


def _assignment(node: ast.stmt) -> tuple[str, Any]:
    if not isinstance(node, ast.Assign):
        raise ValueError(f'line {node.lineno} assigns nothing')
    name = ', '.join(ast.unparse(target) for target in node.targets)
    return name, _value(node.value)


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
            items[keyword.arg] = _value(keyword.value)
        return items
    if isinstance(node, ast.Dict):
        return _mapping(node)
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, (ast.Name, ast.Attribute)):
        return ast.unparse(node)
    return ast.literal_eval(node)


def _mapping(node: ast.expr) -> Mapping[Any, Any]:
    if not isinstance(node, ast.Dict) or None in node.keys:
        raise ValueError(f'line {node.lineno} is no mapping')
    return {
        _value(key): _value(value)
        for key, value in zip(node.keys, node.values, strict=True)
        if key is not None
    }
