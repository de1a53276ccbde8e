"""Whether all numbers of a training are finite."""

from collections.abc import Collection, Iterator
from typing import Any

import torch
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import Tensor

from mmhgkd.utils.unwrapped import unwrapped

_AVERAGE = 'the average of '


def find_not_finite(
    runner: Runner, ignored: Collection[str] = ()
) -> list[str]:
    """Name what holds an infinity or NaN: weights, buffers, gradients.

    Running statistics count, averages of the model, and the state of the
    optimizer, whose square of a large gradient overflows before anything else
    does. Gradients are there
    while they are accumulated only; with a loss scaler they may overflow, as
    it leaves such a step out.

    Args:
        runner (Runner): The runner that trains.
        ignored (Collection[str]): Names that do not count. Defaults to ().

    Returns:
        list[str]: Names of the tensors, the model's first.
    """
    names, flags = [], []
    for name, value in _tensors(runner):
        own = name.removeprefix(_AVERAGE)
        if value.is_floating_point() and own not in ignored:
            names.append(name)
            flags.append(value.detach().isfinite().all())
    if not flags:
        return []
    # Joined on the device: a look at each would make the host wait for it.
    joined = torch.stack([flag.to(flags[0].device) for flag in flags])
    if bool(joined.all()):
        return []
    found = zip(names, joined.tolist(), strict=True)
    return [name for name, is_finite in found if not is_finite]


def not_finite_buffers(runner: Runner) -> frozenset[str]:
    """Buffers of a model that is not trained yet and that hold infinities.

    Such as masks that are added before a softmax.
    """
    return frozenset(
        name
        for name, value in unwrapped(runner.model).named_buffers()
        if value.is_floating_point() and not bool(value.isfinite().all())
    )


def _tensors(runner: Runner) -> Iterator[tuple[str, Tensor]]:
    model = unwrapped(runner.model)
    # Not the parameters: the state is what a checkpoint holds.
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            yield name, value
    for hook in runner.hooks:
        if isinstance(hook, EMAHook) and hasattr(hook, 'ema_model'):
            average = unwrapped(hook.ema_model.module)
            for name, value in average.state_dict().items():
                if isinstance(value, Tensor):
                    yield _AVERAGE + name, value
    wrapper: Any = runner.optim_wrapper
    if getattr(wrapper, 'loss_scaler', None) is None:
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                yield f'the gradient of {name}', weight.grad
    names = {id(value): name for name, value in model.named_parameters()}
    for optimizer in _optimizers(wrapper):
        for parameter, state in optimizer.state.items():
            name = names.get(id(parameter), 'a parameter')
            for key, value in state.items():
                if isinstance(value, Tensor):
                    yield f'{key} of the optimizer for {name}', value


def _optimizers(wrapper: Any) -> Iterator[torch.optim.Optimizer]:
    if hasattr(wrapper, 'optim_wrappers'):
        for part in wrapper.optim_wrappers.values():
            yield from _optimizers(part)
    elif hasattr(wrapper, 'optimizer'):
        yield wrapper.optimizer
