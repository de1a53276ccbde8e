"""Settings of a config that have changed since a checkpoint."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmhgkd.utils import ConfigError
from mmhgkd.utils.stored_config import parse_config, registered_name

#: What a training depends on. Optimizer, schedules, seed and data have
#: their own comparisons.
_SECTIONS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'custom_hooks',
    'val_dataloader',
    'val_cfg',
    'val_evaluator',
)
_LEFT_OUT = (
    'batch_size',
    'data_root',
    'num_workers',
    'optimizer',
    'persistent_workers',
    'pin_memory',
    'prefetch_factor',
)
_MOST = 8
_NOTHING = object()


def find_changed_settings(text: object, now: Mapping[str, Any]) -> list[str]:
    """Compare the config in a checkpoint with that of the run.

    Args:
        text (object): What the checkpoint holds as its config.
        now (Mapping[str, Any]): The config of the run.

    Returns:
        list[str]: One text a change, none if there is nothing to compare.
    """
    if not isinstance(text, str):
        return []
    try:
        before = parse_config(text, 'the checkpoint')
    except ConfigError:  # of parts that only its own training knows
        return []
    changes = [
        change
        for section in _SECTIONS
        for change in _compare(section, before.get(section), now.get(section))
    ]
    if len(changes) > _MOST:
        changes[_MOST:] = [f'{len(changes) - _MOST} more']
    return changes


def _compare(path: str, old: Any, new: Any) -> Iterator[str]:
    """Differences of two values, and of all below them."""
    if path.split('.')[-1] in _LEFT_OUT:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            place = f'{path}.{key}'
            yield from _compare(
                place, old.get(key, _NOTHING), new.get(key, _NOTHING)
            )
        return
    lists = isinstance(old, (list, tuple)), isinstance(new, (list, tuple))
    if all(lists) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _compare(f'{path}.{index}', *pair)
        return
    if _name(old) != _name(new):
        yield f'{path} {_shown(old)} -> {_shown(new)}'


def _name(value: Any) -> Any:
    """A class by its name, as a stored config has it."""
    if isinstance(value, type):
        value = f'{value.__module__}.{value.__name__}'.removeprefix(
            'builtins.'
        )
    return registered_name(value) if isinstance(value, str) else value


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return 'not set'
    text = str(_name(value))
    return text if len(text) <= 40 else f'{text[:37]}...'
