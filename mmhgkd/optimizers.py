"""Optimizers of other packages, under names that configs can use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from timm.optim import Lamb
from torch import Tensor, nn

from .registry import OPTIM_WRAPPERS, OPTIMIZERS
from .utils import ConfigError
from .utils.late_scalars import record_scalar

__all__ = ['AutocastOptimWrapper']

# MMPretrain has an optimizer `Lamb` of its own.
OPTIMIZERS.register_module(name='TimmLamb', module=Lamb)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, without scaling the loss.

    bfloat16 has the range of float32, so a gradient does not vanish in it.
    The scaler of MMEngine's ``AmpOptimWrapper`` does nothing for it but wait
    for the device in each step, and pass over steps that are not finite in
    silence; here :class:`mmhgkd.hooks.InvalidLossHook` finds those. The norm
    of the gradients stays on the device until the log is written.

    Args:
        dtype (str): 'bfloat16'. float16 needs the scaler. Defaults to
            'bfloat16'.
        **kwargs: See :class:`mmengine.optim.OptimWrapper`.

    Attributes:
        last_norm (Tensor, optional): Norm of the gradients of the last step,
            if they are clipped by it.

    Raises:
        ConfigError: If ``dtype`` is another one, or a scaler is asked for.
    """

    last_norm: Tensor | None = None

    def __init__(self, dtype: str = 'bfloat16', **kwargs: Any) -> None:
        if dtype not in ('bfloat16', torch.bfloat16):
            raise ConfigError(
                f"`optim_wrapper.dtype` must be 'bfloat16', got {dtype!r}; "
                'float16 needs its loss scaled: set '
                "`optim_wrapper.type='AmpOptimWrapper'` for it"
            )
        if 'loss_scale' in kwargs:
            raise ConfigError(
                '`optim_wrapper.loss_scale` has no use in bfloat16; leave it '
                "out, or set `optim_wrapper.type='AmpOptimWrapper'`"
            )
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in bfloat16, and accumulate as MMEngine does."""
        device = next(model.parameters()).device.type
        with (
            super().optim_context(model),
            torch.autocast(device, torch.bfloat16),
        ):
            yield

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state, also of a run that has scaled its loss."""
        state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)

    def _clip_grad(self) -> None:
        params = [
            param
            for group in self.optimizer.param_groups
            for param in group['params']
            if param.requires_grad and param.grad is not None
        ]
        if not params:
            return
        self.last_norm = self.clip_func(params, **self.clip_grad_kwargs)
        # Clipping by value gives no norm.
        if self.last_norm is not None:
            name = f'train/{self.grad_name}'
            record_scalar(self.message_hub, name, self.last_norm)
