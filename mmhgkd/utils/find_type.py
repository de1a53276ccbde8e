import io
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
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
    import_datasets(scope)
    with registry.switch_scope_and_registry(scope) as node:
        return node.get(kind)


def import_datasets(scope: str | None) -> None:
    """Import the data sets of MMDetection or MMSegmentation.

    They print that a package of their makers is not there, and all types of
    MMDetection import them.

    Args:
        scope (str, optional): Scope of the config.
    """
    if scope in ('mmdet', 'mmseg') and find_spec(scope) is not None:
        with redirect_stdout(io.StringIO()):
            import_module(f'{scope}.datasets')


def type_name(kind: Any) -> str:
    """Name of the class that a ``type`` of a config stands for.

    Args:
        kind (Any): A class, or its name with or without a library in front.

    Returns:
        str: The name alone.
    """
    name = getattr(kind, '__name__', None) or str(kind)
    return name.rpartition('.')[2]
