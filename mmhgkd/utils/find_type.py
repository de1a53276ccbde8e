from typing import Any

from mmengine.registry import Registry


def find_type(registry: Registry, kind: Any, scope: str | None = None) -> Any:
    """The class that a ``type`` of a config stands for.

    Configs name one class in several ways: ``'X'``, ``'mmengine.X'``, or the
    class itself. Only classes can be compared.

    Args:
        registry (Registry): Where types of this kind are registered.
        kind (Any): Value of ``type``.
        scope (str, optional): Scope of the config, such as 'mmdet'. Defaults
            to None, which means that of the run.

    Returns:
        Any: The class, None if the registry does not know it.
    """
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(scope) as node:
        return node.get(kind)


def type_name(kind: Any) -> str:
    """Name of the class that a ``type`` of a config stands for.

    Args:
        kind (Any): A class, or its name with or without a library in front.

    Returns:
        str: The name alone.
    """
    name = getattr(kind, '__name__', None) or str(kind)
    return name.rpartition('.')[2]
