"""Checks of optimizer, schedules and hooks, for :mod:`run_checks`.

Their classes take most values as they come, or fail with words about Python.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import HistoryBuffer

from .errors import ConfigError, one_of
from .value_checks import find, is_count, is_number

#: What optimizers switch on and off; some leave it to PyTorch by None.
_SWITCHES = (
    'amsgrad',
    'capturable',
    'differentiable',
    'foreach',
    'fused',
    'maximize',
    'nesterov',
)
_MULTIPLIERS = (
    'lr_mult',
    'decay_mult',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
)


def check_optimizer(cfg: Mapping[str, Any]) -> None:
    """What PyTorch's optimizers do not look at themselves."""
    for clip in find(cfg, 'optim_wrapper.clip_grad'):
        if clip is not None and not isinstance(clip, Mapping):
            raise ConfigError(
                '`optim_wrapper.clip_grad` must be None or a dict such as '
                f'dict(max_norm=5.0), got {clip!r}'
            )
    for name in ('max_norm', 'clip_value'):
        for value in find(cfg, f'optim_wrapper.clip_grad.{name}'):
            if not is_number(value) or value <= 0:
                raise ConfigError(
                    f'`optim_wrapper.clip_grad.{name}` must be a positive '
                    f'number, got {value!r}'
                )
    for value in find(cfg, 'optim_wrapper.clip_grad.norm_type'):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ConfigError(
                '`optim_wrapper.clip_grad.norm_type` must be a number such as '
                f'2, or inf, got {value!r}'
            )
    for value in find(cfg, 'optim_wrapper.optimizer.lr'):
        if not is_number(value) or value <= 0:
            raise ConfigError(
                '`optim_wrapper.optimizer.lr` must be a positive number, got '
                f'{value!r}'
            )
    for name in ('weight_decay', 'eps'):
        for value in find(cfg, f'optim_wrapper.optimizer.{name}'):
            if not is_number(value) or value < 0:
                raise ConfigError(
                    f'`optim_wrapper.optimizer.{name}` must be a number of at '
                    f'least 0, got {value!r}'
                )
    for name in _SWITCHES:
        for value in find(cfg, f'optim_wrapper.optimizer.{name}'):
            if value is not None and not isinstance(value, bool):
                raise ConfigError(
                    f'`optim_wrapper.optimizer.{name}` must be True or '
                    f'False, got {value!r}'
                )
    for value in find(cfg, 'optim_wrapper.optimizer.betas'):
        if (
            not isinstance(value, (list, tuple))
            or len(value) < 2
            or not all(is_number(beta) and 0 <= beta < 1 for beta in value)
        ):
            raise ConfigError(
                '`optim_wrapper.optimizer.betas` must be numbers in [0, 1) '
                f'such as (0.9, 0.95), got {value!r}'
            )
    scaling = cfg.get('auto_scale_lr') or {}
    if scaling.get('enable') and 'base_batch_size' not in scaling:
        raise ConfigError(
            '`auto_scale_lr` needs the total batch size that the learning '
            'rate of the config is meant for; add `auto_scale_lr = '
            'dict(base_batch_size=...)` to the config'
        )
    parts = {'optim_wrapper.paramwise_cfg': _paramwise(cfg)}
    keys = _paramwise(cfg).get('custom_keys') or {}
    for key in keys if isinstance(keys, Mapping) else ():
        path = f'optim_wrapper.paramwise_cfg.custom_keys.{key}'
        if not isinstance(keys[key], Mapping):
            raise ConfigError(
                f'`{path}` must be a dict such as dict(lr_mult=0.1), got '
                f'{keys[key]!r}'
            )
        parts[path] = keys[key]
    for path, part in parts.items():
        for name in _MULTIPLIERS:
            value = part.get(name)
            if value is not None and not is_number(value):
                raise ConfigError(
                    f'`{path}.{name}` must be a number, got {value!r}'
                )


def _paramwise(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    for value in find(cfg, 'optim_wrapper.paramwise_cfg'):
        if isinstance(value, Mapping):
            return value
    return {}


def check_schedules(cfg: Mapping[str, Any]) -> None:
    """A schedule begins before it ends.

    Raises:
        ConfigError: It names the setting.
    """
    for path, schedule in _schedules(cfg):
        for name, least in (('begin', 0), ('end', 1), ('T_max', 1)):
            value = schedule.get(name)
            if value is not None and not is_count(value, least):
                raise ConfigError(
                    f'`{path}.{name}` must be a whole number of at least '
                    f'{least}, got {value!r}'
                )
        begin, end = schedule.get('begin') or 0, schedule.get('end')
        if end is not None and begin >= end:
            raise ConfigError(
                f'`{path}` begins at {begin} and ends at {end}; set '
                f'`{path}.end` to a later one'
            )
        for name in ('by_epoch', 'convert_to_iter_based'):
            flag = schedule.get(name, True)
            if not isinstance(flag, bool):
                raise ConfigError(
                    f'`{path}.{name}` must be True or False, got {flag!r}'
                )
        _check_values(path, schedule)


def _check_values(path: str, schedule: Mapping[str, Any]) -> None:
    """Factors and ends of a schedule are numbers that make sense."""
    for name in ('start_factor', 'end_factor', 'factor', 'gamma', 'power'):
        value = schedule.get(name)
        # A step of `LinearLR` divides by the factor before it.
        first = name in ('start_factor', 'factor')
        if value is not None and not (
            is_number(value) and (value > 0 or (value == 0 and not first))
        ):
            raise ConfigError(
                f'`{path}.{name}` must be a '
                f'{"positive number" if first else "number of at least 0"}, '
                f'got {value!r}'
            )
    for name in ('eta_min', 'eta_min_ratio'):
        value = schedule.get(name)
        if value is not None and not (is_number(value) and value >= 0):
            raise ConfigError(
                f'`{path}.{name}` must be a number of at least 0, got '
                f'{value!r}'
            )


def _schedules(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping]]:
    """Each schedule and its path, those of several optimizers too."""
    pending = [('param_scheduler', cfg.get('param_scheduler'))]
    while pending:
        path, value = pending.pop()
        if isinstance(value, Mapping) and 'type' in value:
            yield path, value
        elif isinstance(value, Mapping):
            pending += [(f'{path}.{name}', value[name]) for name in value]
        elif isinstance(value, (list, tuple)):
            pending += [
                (f'{path}.{index}', part) for index, part in enumerate(value)
            ]


def check_hooks(cfg: Mapping[str, Any]) -> None:
    """Hooks have an interval, and know what is better.

    Raises:
        ConfigError: It names the setting.
    """
    hooks = {
        f'default_hooks.{name}': hook
        for name, hook in (cfg.get('default_hooks') or {}).items()
    }
    for index, hook in enumerate(cfg.get('custom_hooks') or ()):
        hooks[f'custom_hooks.{index}'] = hook
    for path, hook in hooks.items():
        for value in find(hook, 'interval') if hook else ():
            if value != -1 and not is_count(value, 1):
                raise ConfigError(
                    f'`{path}.interval` must be a whole number of at least 1, '
                    f'or -1, got {value!r}'
                )
    for name in find(cfg, 'default_hooks.checkpoint.filename_tmpl'):
        if name is not None and (
            not isinstance(name, str)
            or name.count('{}') != 1
            or not name.endswith('.pth')
            or '/' in name
        ):
            raise ConfigError(
                '`default_hooks.checkpoint.filename_tmpl` must be a name '
                f"such as 'epoch_{{}}.pth', got {name!r}"
            )
    for rule in find(cfg, 'default_hooks.checkpoint.rule'):
        for value in rule if isinstance(rule, (list, tuple)) else [rule]:
            one_of(
                '`default_hooks.checkpoint.rule`',
                value,
                (None, 'greater', 'less'),
            )


def check_log(cfg: Mapping[str, Any]) -> None:
    """What the log is told to collect has a source and a method.

    Raises:
        ConfigError: It names the setting.
    """
    option = 'log_processor.custom_cfg'
    for parts in find(cfg, option):
        if parts is None:
            continue
        known = isinstance(parts, (list, tuple)) and all(
            isinstance(part, Mapping)
            and {'data_src', 'method_name'} <= set(part)
            for part in parts
        )
        if not known:
            raise ConfigError(
                f'`{option}` must be a list of dicts such as dict(data_src='
                f"'loss', method_name='mean', window_size=100), got {parts!r}"
            )
        for index, part in enumerate(parts):
            size = part.get('window_size', 1)
            if not is_count(size, 1) and size not in ('epoch', 'global'):
                raise ConfigError(
                    f'`{option}.{index}.window_size` must be a whole number '
                    f"of at least 1, 'epoch' or 'global', got {size!r}"
                )
            one_of(
                f'`{option}.{index}.method_name`',
                part['method_name'],
                list(HistoryBuffer()._statistics_methods),
            )
