from collections.abc import Iterator
from typing import Any


def find_key(
    node: Any, key: str, path: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find a key at any depth.

    Args:
        node (Any): A part of a config.
        key (str): The key to find.
        path (str): Option path of ``node``.

    Yields:
        tuple[str, dict]: Option path of the key, and the dictionary it is in.
    """
    if isinstance(node, dict):
        if key in node:
            yield f'{path}.{key}', node
        for name, child in node.items():
            yield from find_key(child, key, f'{path}.{name}')
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from find_key(child, key, f'{path}.{index}')
