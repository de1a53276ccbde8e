from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import convert_sync_batchnorm
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from mmhgkd.utils import ConfigError

from .resumable_runner import ResumableRunner

# They copy the model, compare it, run it in one process, or take gradients of
# their own.
_NEEDS_WHOLE_MODEL = {
    'EMAHook',
    'LossGradientHook',
    'PanelHook',
    'PretrainedCheckHook',
}


class ShardedRunner(ResumableRunner):
    """Trains with FSDP: each process keeps a part of everything.

    Parameters, their gradients and the state of the optimizer are split over
    the processes by PyTorch's ``fully_shard``, and those of the frozen
    teacher too. The whole student is gathered for a step, and the teacher
    for its forward pass. A step computes what it computes with
    ``DistributedDataParallel``.

    Checkpoints hold whole tensors, as those of :class:`ResumableRunner`, and
    either resumes those of the other. A single process shards nothing.

    Set ``runner_type='mmhgkd.runner.ShardedRunner'`` in a config.
    """

    _whole: dict[str, Any] = {}

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        """Initialize the model, then shard it."""
        if not self.distributed:
            return super().wrap_model(model_wrapper_cfg, model)
        model = model.to(get_device())
        if self.cfg.get('sync_bn') is not None:
            model = convert_sync_batchnorm(model, self.cfg.sync_bn)
        self.model = model
        # Later the parameters would be shards, which have no fan-in.
        super()._init_model_weights()
        mesh = init_device_mesh(get_device(), (self.world_size,))
        parameters: list[Any] = []
        teacher = getattr(model, 'teacher', None)
        if isinstance(teacher, nn.Module):
            fully_shard(teacher, mesh=mesh, reshard_after_forward=True)
            parameters += teacher.parameters()
        fully_shard(model, mesh=mesh)
        parameters += model.parameters()
        own = sum(value.to_local().numel() for value in parameters)
        self.logger.info(
            f'This process keeps {own} of '
            f'{sum(value.numel() for value in parameters)} '
            'parameters of student and teacher.'
        )
        # Evaluations call it past the model's `forward`.
        register_fsdp_forward_method(model, 'extract_feat')
        return model

    def _init_model_weights(self) -> None:
        if not self.distributed:
            super()._init_model_weights()

    def register_hook(
        self, hook: Hook | dict, *args: Any, **kwargs: Any
    ) -> None:
        """Register a hook.

        Raises:
            ConfigError: If the hook cannot work on a sharded model.
        """
        super().register_hook(hook, *args, **kwargs)
        for one in self._hooks if self.distributed else ():
            names = {base.__name__ for base in type(one).mro()}
            if names & _NEEDS_WHOLE_MODEL:
                raise ConfigError(
                    f'{type(one).__name__} does not work on a model that is '
                    'split over processes; take it out of `custom_hooks`, or '
                    'train without `runner_type`'
                )

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint of whole tensors; all processes have to call."""
        self._whole = _gather(
            dict(
                state_dict=self.model.state_dict(),
                optimizer=self.optim_wrapper.state_dict(),
            )
        )
        super().save_checkpoint(*args, **kwargs)
        self._whole = {}

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks; those that see a checkpoint see it whole."""
        if fn_name == 'before_save_checkpoint':
            checkpoint = kwargs['checkpoint']
            for name in checkpoint.keys() & self._whole.keys():
                checkpoint[name] = self._whole[name]
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'after_load_checkpoint':
            self._shard(kwargs['checkpoint'])

    def _shard(self, checkpoint: dict[str, Any]) -> None:
        """Take this process's part of the tensors of a whole checkpoint."""
        state = checkpoint.get('state_dict', checkpoint)
        for name, target in self.model.state_dict().items():
            if name in state:
                state[name] = shard_like(state[name], target)
        if not self._resume or 'optimizer' not in checkpoint:
            return
        states = checkpoint['optimizer']['state']
        parameters = [
            parameter
            for group in self.optim_wrapper.param_groups
            for parameter in group['params']
        ]
        for index, values in states.items():
            states[index] = {
                name: shard_like(value, parameters[index])
                for name, value in values.items()
            }


def shard_like(value: Any, target: Tensor) -> Any:
    """Split a whole tensor as another of the same shape is split.

    Args:
        value (Any): A tensor, the same in all processes; anything else is
            returned as it is.
        target (Tensor): The tensor to be like.

    Returns:
        Any: The part of this process, or ``value`` where nothing is split.
    """
    if (
        not isinstance(target, DTensor)
        or not isinstance(value, Tensor)
        or value.shape != target.shape
    ):
        return value
    return distribute_tensor(
        value.to(target.device), target.device_mesh, target.placements
    )


def _gather(state: dict[str, Any]) -> dict[str, Any]:
    """Make tensors whole, and bring them to the host."""
    with torch.no_grad():
        return apply_to(
            state,
            lambda value: isinstance(value, DTensor),
            lambda value: value.full_tensor().cpu(),
        )
