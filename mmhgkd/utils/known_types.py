"""Building from a config of unknown origin."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from mmengine.registry import DefaultScope, Registry

from .errors import ConfigError
from .safe_files import safe_loading

#: Packages whose registries a stored config may name.
SCOPES = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'mmhgkd')
#: Packages whose classes and functions stand in these registries.
PACKAGES = (*SCOPES, 'torch', 'torchvision')
# They fetch code by a name that a config gives.
_REFUSED = ('mmpretrain.models.utils.huggingface', 'mmpretrain.models.multi')


@contextmanager
def known_types(source: str) -> Iterator[None]:
    """Let registries give only what known packages have registered.

    Otherwise a registry imports any module that a ``type`` or a scope names,
    and calls whatever it finds there. Files are read as in
    :func:`safe_loading`.

    Args:
        source (str): File of the config, for errors.

    Raises:
        ConfigError: If anything else is asked for.
    """
    get, switch = Registry.get, Registry.switch_scope_and_registry

    def get_known(self: Registry, key: str) -> Any:
        if not isinstance(key, str):
            return get(self, key)
        scope, name = self.split_scope_key(key)
        if scope is not None and (scope not in SCOPES or '.' in name):
            raise _refusal(source, key)
        place: Any = nullcontext(self)
        if scope is not None:
            place = switch_known(self, scope)
        with place as registry:
            # MMEngine would import what is not registered.
            found = _find_registered(registry, name)
        if found is not None and not _is_known(found):
            raise _refusal(source, key)
        return found

    @contextmanager
    def switch_known(self: Registry, scope: str | None) -> Iterator[Registry]:
        current = DefaultScope.get_current_instance()
        name = scope or (current and current.scope_name)
        if name is not None and name not in SCOPES:
            raise _refusal(source, f'{name}.*')
        with switch(self, scope) as registry:
            yield registry

    Registry.get, Registry.switch_scope_and_registry = get_known, switch_known
    try:
        with safe_loading():
            yield
    finally:
        Registry.get, Registry.switch_scope_and_registry = get, switch


def stored_scope(config: Mapping[str, Any], source: str) -> str:
    """The default scope of a stored config, 'mmpretrain' without one.

    Raises:
        ConfigError: If it is no known package.
    """
    scope = config.get('default_scope') or 'mmpretrain'
    if scope not in SCOPES:
        raise _refusal(source, f'{scope}.*')
    return scope


def _find_registered(registry: Registry, name: str) -> Any:
    """What a registry or one above it has under a name.

    A class that is registered under another name counts by its own, too, as
    stored configs have it.
    """
    classes: dict[str, Any] = {}
    node: Registry | None = registry
    while node is not None:
        node.import_from_location()
        if name in node.module_dict:
            return node.module_dict[name]
        for part in node.module_dict.values():
            classes.setdefault(getattr(part, '__name__', ''), part)
        node = node.parent
    return classes.get(name)


def _is_known(found: Any) -> bool:
    module = getattr(getattr(found, 'func', found), '__module__', None) or ''
    return module.split('.')[0] in PACKAGES and not module.startswith(_REFUSED)


def _refusal(source: str, name: str) -> ConfigError:
    return ConfigError(
        f'{source}: its config names `{name}`, which is no part of '
        f'{", ".join(SCOPES)}, and is not imported because it can run code; '
        'give the config of the training by its file or name where that is '
        'possible'
    )
