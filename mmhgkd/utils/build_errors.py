"""Errors while the parts of a run are built from its config.

What is built gets its arguments from the config, so that whatever a
constructor raises is for the user to mend there.
"""

import inspect
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.registry import Registry

from .errors import ConfigError, RunError, closest

#: What to do where a model lacks a method that an option asks for.
_MENDS = {
    'get_layer_depth': ', so its learning rate cannot decay by layer; leave '
    'out `optim_wrapper.constructor`'
}


@contextmanager
def clear_build_errors() -> Iterator[None]:
    """Let all registries name what they cannot build in one ConfigError."""
    build = Registry.build

    def build_or_explain(
        self: Registry, cfg: Any, default_args: Any = None, **kwargs: Any
    ) -> Any:
        if default_args is not None:
            kwargs['default_args'] = default_args
        arguments = {**(default_args or {})}
        if isinstance(cfg, Mapping):  # not a list of parts, or an error
            arguments.update(cfg)
        kind = arguments.get('type')
        with building(getattr(kind, '__name__', str(kind))):
            try:
                return build(self, cfg, **kwargs)
            except KeyError:
                if isinstance(kind, str):
                    check_type(self, kind, arguments.get('_scope_'))
                raise
            except (ConfigError, RunError):
                raise
            except (TypeError, AttributeError, AssertionError) as error:
                if isinstance(kind, str):
                    kind = self.get(kind)
                _check_argument(kind, arguments, error)
                _check_text(kind, arguments, error)
                raise

    Registry.build = build_or_explain
    try:
        yield
    finally:
        Registry.build = build


@contextmanager
def building(name: str) -> Iterator[None]:
    """Turn the error of a constructor into a ConfigError about the part."""
    try:
        yield
    except (ConfigError, RunError, FloatingPointError):
        raise
    except Exception as error:
        text = ' '.join(str(error).split())
        if not text and isinstance(error, AssertionError):
            line = traceback.extract_tb(error.__traceback__)[-1].line
            text = f'`{line}` does not hold'
        if not text and isinstance(error, NotImplementedError):
            frame = traceback.extract_tb(error.__traceback__)[-1]
            text = f'`{frame.name}` is not implemented for this model'
            text += _MENDS.get(frame.name, '')
        raise ConfigError(
            f'cannot build `{name}` of the config: {text} '
            f'({type(error).__name__})'
        ) from error


def _check_argument(
    kind: Any, arguments: Mapping[str, Any], error: Exception
) -> None:
    """Name the closest option, if the error is about one that is unknown.

    Or say that an option is not free, if the part sets it itself.
    """
    if not inspect.isclass(kind):
        return
    twice = re.search(
        r"multiple values for keyword argument '(\w+)'", str(error)
    )
    if twice is not None and twice[1] in arguments:
        raise ConfigError(
            f'`{kind.__name__}` sets `{twice[1]}` itself; leave it out'
        ) from error
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found is None or found[1] not in arguments:
        return
    taken = _parameters(kind)
    raise ConfigError(
        f'`{found[1]}` is no option of `{kind.__name__}`; '
        f'{closest(found[1], sorted(taken), "leave it out")}'
    ) from error


def _check_text(
    kind: Any, arguments: Mapping[str, Any], error: Exception
) -> None:
    """Name an option that is text where its default is something else.

    Python's own words about it name no option.
    """
    if not inspect.isclass(kind):
        return
    for name, parameter in _parameters(kind).items():
        value, default = arguments.get(name), parameter.default
        if (
            isinstance(value, str)
            and default not in (None, parameter.empty)
            and not isinstance(default, str)
        ):
            raise ConfigError(
                f'cannot build `{kind.__name__}` of the config: its option '
                f'`{name}` is {value!r}, where the default is {default!r} '
                f'({" ".join(str(error).split())})'
            ) from error


def _parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """Options of a class and of those that it passes others on to."""
    found: dict[str, inspect.Parameter] = {}
    for parent in kind.__mro__:
        if '__init__' not in vars(parent) or parent is object:
            continue
        parameters = inspect.signature(parent).parameters.values()
        for parameter in parameters:
            if parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            ):
                found.setdefault(parameter.name, parameter)
        # What a class does not pass on, its parents do not get.
        if all(x.kind is not x.VAR_KEYWORD for x in parameters):
            break
    return found


def check_type(registry: Registry, name: str, scope: str | None) -> None:
    """Refuse a type that a registry does not know.

    Raises:
        ConfigError: It names the closest type that there is.
    """
    with registry.switch_scope_and_registry(scope) as node:
        if node.get(name) is not None:
            return
    known = dict.fromkeys(node.module_dict)
    pending = [node.root]
    while pending:
        part = pending.pop()
        prefix = '' if part is node.root else f'{part.scope}.'
        known.update(dict.fromkeys(prefix + key for key in part.module_dict))
        pending += part.children.values()
    otherwise = 'import the module that registers it by `custom_imports`'
    raise ConfigError(
        f'there is no {node.name} `{name}`; {closest(name, known, otherwise)}'
    )
