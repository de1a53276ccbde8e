"""What is the same in a resumed run as before, and what follows if not."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.runner import Runner
from torch import Tensor, nn

from mmhgkd.utils import ConfigError
from mmhgkd.utils.unwrapped import unwrapped

from .changed_config import find_changed_settings
from .data_record import find_changes
from .resumed_schedules import optimizer_parts, read_settings, take_settings

_WEIGHTS = 'or start from the weights alone by `load_from` without --resume'


def resume_run(runner: Any, resume: Callable[[], None]) -> None:
    """Resume a run, and take or refuse what the config has changed.

    Args:
        runner (ResumableRunner): Its loop, optimizer and schedulers are
            built.
        resume (Callable): Loads the checkpoint as MMEngine does, which
            leaves its content at ``runner.resumed``.

    Raises:
        ConfigError: If the optimizer is another one, or if schedules cannot
            be computed anew.
    """
    configured = read_settings(runner)
    try:
        resume()
    except ValueError as error:
        if 'parameter group' not in str(error):
            raise
        raise ConfigError(
            'the state of the optimizer in the checkpoint has other groups '
            f'of parameters than now ({error}); undo the change of '
            f'`optim_wrapper` or of the model, {_WEIGHTS}'
        ) from error
    content, runner.resumed = runner.resumed, None
    before = content['meta'].get('run') or {}
    _check_optimizers(before.get('optimizers'), optimizer_names(runner))
    if 'optimizer' not in content:
        runner.logger.warning(
            'the checkpoint holds no state of the optimizer, which begins '
            'anew; set `save_optimizer=True` of `default_hooks.checkpoint`'
        )
    _find_place(runner, before)
    changes = take_settings(
        runner, configured, content.get('param_schedulers')
    )
    if changes:
        runner.logger.warning(
            'These settings have changed since the checkpoint; those of the '
            f'config hold, as from the beginning: {"; ".join(changes)}'
        )
    elif before.get('max_iters', runner.max_iters) < runner.max_iters:
        _warn_of_end(runner)
    others = find_changed_settings(content['meta'].get('cfg'), runner.cfg)
    if others:
        runner.logger.warning(
            'These settings have changed since the checkpoint; those of the '
            f'config hold from here on: {"; ".join(others)}'
        )
    if runner.iter >= runner.max_iters:
        runner.logger.warning(
            f'The run is at its end already, {runner.iter} of '
            f'{runner.max_iters} iterations: nothing is trained.'
        )


def optimizer_names(runner: Runner) -> dict[str, str]:
    """Classes of the optimizers, by their names in the wrapper."""
    return {
        name: type(getattr(wrapper, 'optimizer', None)).__name__
        for name, (wrapper, _) in optimizer_parts(runner).items()
    }


def check_model(
    model: nn.Module, state: Mapping[str, Any], filename: str
) -> None:
    """Refuse to resume a run with another model.

    MMEngine leaves out what does not fit, and would go on with a part of
    the model as it was initialized.

    Args:
        model (nn.Module): The model, maybe wrapped.
        state (Mapping[str, Any]): State dict of the checkpoint.
        filename (str): The checkpoint.

    Raises:
        ConfigError: If a weight or buffer is missing, left over, or of
            another shape.
    """
    own = unwrapped(model).state_dict()
    state = {key.removeprefix('module.'): v for key, v in state.items()}
    faults = [
        f'`{key}` is {_shape(state[key])} there and {_shape(own[key])} here'
        for key in own.keys() & state.keys()
        if _shape(own[key]) != _shape(state[key])
    ]
    faults += [f'`{key}` is not there' for key in own.keys() - state.keys()]
    faults += [f'`{key}` is not here' for key in state.keys() - own.keys()]
    if faults:
        raise ConfigError(
            f'{filename} cannot be resumed, it is of another model: '
            f'{"; ".join(sorted(faults)[:3])} ({len(faults)} differences); '
            f'undo the change of `model`, {_WEIGHTS}'
        )


def _shape(value: Any) -> str:
    if not isinstance(value, Tensor):
        return 'no tensor'
    return 'x'.join(map(str, value.shape)) or 'a number'


def _check_optimizers(
    before: dict[str, str] | None, now: dict[str, str]
) -> None:
    if before is not None and before != now:
        names = [', '.join(part.values()) for part in (before, now)]
        raise ConfigError(
            f'the checkpoint holds the state of {names[0]}, but '
            f'`optim_wrapper.optimizer` is {names[1]}; set it back, '
            f'{_WEIGHTS}'
        )


def _find_place(runner: Any, before: dict[str, Any]) -> None:
    """Go to another place where the data is not as it was."""
    loop: Any = runner.train_loop
    if before.get('anchor') is not None and hasattr(loop, 'anchor'):
        loop.anchor = tuple(before['anchor'])
    data = before.get('data') or {}
    changes = find_changes(data, runner.data_record) if data else []
    if not changes:
        return
    text = f'The data has changed since the checkpoint: {"; ".join(changes)}'
    if not hasattr(loop, 'begin_anew') or not data.get('length'):
        runner.logger.warning(f'{text}.')
        return
    iteration = loop._iter
    place = loop.begin_anew(data['length'])
    runner.data_changed = True
    if loop._iter != iteration:
        # Else the checkpoints before would be newer than those that follow.
        runner.run_id = uuid.uuid4().hex
        runner.branches_off = True
    runner.logger.warning(
        f'{text}; {place}, at iteration {loop._iter} of {loop.max_iters}.'
    )


def _warn_of_end(runner: Any) -> None:
    """Say where the schedules end before a training that is longer now."""
    length = len(runner.train_dataloader)
    ends = [
        schedule.end * (length if schedule.by_epoch else 1)
        for _, schedules in optimizer_parts(runner).values()
        for schedule in schedules
    ]
    if ends and max(ends) < runner.max_iters:
        runner.logger.warning(
            f'The training is longer than before, {runner.max_iters} '
            f'iterations, but its schedules end after {max(ends)}: the '
            'learning rate stays as it is then; set `end` and `T_max` in '
            '`param_scheduler`, too.'
        )
