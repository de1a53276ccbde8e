"""Errors while the parts of a run are built from its config."""

import traceback
from difflib import get_close_matches
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import (
    OPTIMIZERS,
    Registry,
    build_from_cfg,
    build_scheduler_from_cfg,
)
from mmengine.runner import Runner

from .config_error import ConfigError

# Where a type is looked up, and the variable that holds what was found.
_LOOK_UPS = {
    build_from_cfg.__code__: 'obj_cls',
    build_scheduler_from_cfg.__code__: 'scheduler_cls',
    DefaultOptimWrapperConstructor.__call__.__code__: 'optimizer_cls',
}
_BUILDERS = {
    getattr(Runner, f'build_{name}').__code__: name
    for name in (
        'dataloader',
        'optim_wrapper',
        'param_scheduler',
        'train_loop',
        'val_loop',
        'test_loop',
    )
}


def config_fault(error: Exception) -> ConfigError | None:
    """Turn an error of a constructor into one about the config.

    What a registry or the runner builds gets its arguments from the config,
    so that what it raises is for the user to mend there.

    Args:
        error (Exception): Any error of a run.

    Returns:
        ConfigError or None: It names the part and what is wrong with it. None
        if the error was not raised while something was built.
    """
    name = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code, variables = frame.f_code, frame.f_locals
        name = _BUILDERS.get(code, name)
        if code not in _LOOK_UPS:
            continue
        if variables.get(_LOOK_UPS[code], ()) is None:
            registry = variables.get('registry', OPTIMIZERS)
            return ConfigError(_unknown_type(_wanted(variables), registry))
        name = _wanted(variables)
    if name is None:
        return None
    text = ' '.join(str(error).split())
    return ConfigError(
        f'cannot build `{name}` of the config: {text} ({type(error).__name__})'
    )


def _wanted(variables: dict[str, Any]) -> str:
    """The type that a look-up was to find."""
    if 'optimizer_cls' in variables:
        cfg = variables['self'].optimizer_cfg
    else:
        cfg = {**(variables['default_args'] or {}), **variables['cfg']}
    kind = cfg.get('type')
    return kind if isinstance(kind, str) else getattr(kind, '__name__', '?')


def _unknown_type(name: str, registry: Registry) -> str:
    known: dict[str, None] = dict.fromkeys(registry.module_dict)
    pending = [registry.root]
    while pending:
        node = pending.pop()
        prefix = '' if node is registry.root else f'{node.scope}.'
        known.update(dict.fromkeys(prefix + key for key in node.module_dict))
        pending += node.children.values()
    close = get_close_matches(name, known, n=1)
    hint = (
        f'did you mean `{close[0]}`?'
        if close
        else ('import the module that registers it by `custom_imports`')
    )
    return f'there is no {registry.name} `{name}`; {hint}'
