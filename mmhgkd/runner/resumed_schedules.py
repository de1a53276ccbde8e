"""Settings of optimizer and schedules that have changed since a checkpoint.

A checkpoint holds these settings, and MMEngine takes all of them from there:
a learning rate, an end or a period that the config changes would be ignored.
"""

import copy
import warnings
from typing import Any

from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from mmhgkd.utils import ConfigError

_PROGRESS = {
    'optimizer',
    'last_step',
    'verbose',
    'base_values',
    'best',
    'num_bad_epochs',
    'cooldown_counter',
    '_global_step',
    '_last_value',
}
Settings = dict[str, dict[str, list[dict[str, Any]]]]


def read_settings(runner: Runner) -> Settings:
    """Copy the present values of all parameter groups and schedules.

    Args:
        runner (Runner): Its optimizer and schedulers are built.

    Returns:
        Settings: By name of the optimizer, '' where there is only one.
    """
    return {
        name: dict(
            groups=[
                copy.deepcopy({k: v for k, v in g.items() if k != 'params'})
                for g in wrapper.param_groups
            ],
            schedules=[copy.deepcopy(s.state_dict()) for s in schedulers],
        )
        for name, (wrapper, schedulers) in optimizer_parts(runner).items()
    }


def take_settings(
    runner: Runner, configured: Settings, saved: Any
) -> list[str]:
    """Let the settings of the config win over those of a checkpoint.

    Where one differs all schedules are run through again, up to the place
    that the run has reached, so that each value is that of a run which had
    the settings of the config from the beginning.

    Args:
        runner (Runner): It has been resumed.
        configured (Settings): Those before it was resumed.
        saved (list or dict or None): ``param_schedulers`` of the checkpoint.

    Returns:
        list[str]: What has changed, one text each.

    Raises:
        ConfigError: If a schedule depends on what was measured in training,
            so that it cannot be run through again.
    """
    present = read_settings(runner)
    changes: list[str] = []
    for name, config in configured.items():
        before = saved.get(name) if isinstance(saved, dict) else saved
        changes += _group_changes(present[name]['groups'], config['groups'])
        changes += _schedule_changes(before or [], config['schedules'])
    changes = list(dict.fromkeys(changes))
    if not changes:
        return []
    for name, (wrapper, schedulers) in optimizer_parts(runner).items():
        if any(hasattr(scheduler, 'monitor') for scheduler in schedulers):
            raise ConfigError(
                'settings have changed since the checkpoint '
                f'({"; ".join(changes)}), but a schedule that follows a '
                'metric cannot be computed anew; undo the change, or start '
                'from the weights alone by `load_from`'
            )
        _replay(runner, wrapper, schedulers, configured[name])
    return changes


def optimizer_parts(runner: Runner) -> dict[str, tuple[Any, list[Any]]]:
    """Wrapper and schedules of each optimizer, '' where there is only one."""
    wrapper: Any = runner.optim_wrapper
    schedulers: Any = runner.param_schedulers or []
    if not isinstance(wrapper, OptimWrapperDict):
        return {'': (wrapper, schedulers)}
    return {
        name: (
            part,
            schedulers.get(name, [])
            if isinstance(schedulers, dict)
            else schedulers,
        )
        for name, part in wrapper.items()
    }


def _group_changes(
    before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> list[str]:
    changes = []
    for old, new in zip(before, now, strict=True):
        for key in new.keys() & old.keys():
            # What a schedule changes has its own first value beside it.
            scheduled = {f'initial_{key}'} & (new.keys() | old.keys())
            if not scheduled and not _same(old[key], new[key]):
                text = key.removeprefix('initial_')
                changes.append(f'{text} {old[key]} -> {new[key]}')
    return sorted(changes)


def _schedule_changes(
    before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> list[str]:
    if len(before) != len(now):
        return [f'{len(before)} -> {len(now)} schedules']
    changes = []
    for index, (old, new) in enumerate(zip(before, now, strict=True)):
        where = f'param_scheduler.{index}'
        if old.keys() - _PROGRESS != new.keys() - _PROGRESS:
            changes.append(f'another kind of schedule in {where}')
            continue
        changes += [
            f'{where}.{key} {old[key]} -> {new[key]}'
            for key in new
            if key not in _PROGRESS and not _same(old[key], new[key])
        ]
    return changes


def _same(first: Any, second: Any) -> bool:
    try:
        return bool(first == second)
    except (RuntimeError, ValueError):  # of several elements
        return bool((first == second).all())


def _replay(
    runner: Runner,
    wrapper: Any,
    schedulers: list[Any],
    configured: dict[str, list[dict[str, Any]]],
) -> None:
    """Set all values back to the beginning, and repeat all steps."""
    for group, values in zip(
        wrapper.param_groups, configured['groups'], strict=True
    ):
        for key in [k for k in group if k != 'params' and k not in values]:
            del group[key]
        group.update(copy.deepcopy(values))
    for scheduler, state in zip(
        schedulers, configured['schedules'], strict=True
    ):
        optimizer = scheduler.optimizer
        vars(scheduler).clear()
        vars(scheduler).update(copy.deepcopy(state), optimizer=optimizer)
    by_epoch = [s for s in schedulers if s.by_epoch]
    by_iteration = [s for s in schedulers if not s.by_epoch]
    length = len(runner.train_dataloader)
    epochs = 0
    with warnings.catch_warnings():
        # The steps of the optimizer were those of the run before.
        warnings.simplefilter('ignore', UserWarning)
        for done in range(1, runner.iter + 1):
            for scheduler in by_iteration:
                scheduler.step()
            if done % length == 0 and epochs < runner.epoch:
                epochs += 1
                for scheduler in by_epoch:
                    scheduler.step()
