import os.path as osp
from typing import Any

from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch import Tensor

from mmhgkd.registry import HOOKS
from mmhgkd.utils.whole_file import WholeFileBackend, remove_partial_files

from .pretrained_check_hook import unwrapped

INTERRUPTED = 'interrupted.pth'


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """Writes checkpoints as a whole, and outdated ones go last.

    :class:`mmengine.hooks.CheckpointHook`, which has the same arguments,
    removes the old checkpoint, then writes the new one in place: who is
    killed in between has neither. Here a local file takes its name once it is
    on the disk, and only then outdated ones are removed.

    Gradients that wait for the next step of the optimizer, when they are
    accumulated over several batches, are saved too.

    Besides, the run can be saved at any iteration, for a signal or because
    the data fails. That file, ``interrupted.pth``, is removed as soon as a
    newer checkpoint is there.
    """

    backend_args: dict | None
    file_backend: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._saved = -1
        self._gradients: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder, and put gradients back that were waiting."""
        is_plain = self.file_client_args is None and self.backend_args is None
        if is_plain and '://' not in str(self.out_dir):
            self.backend_args = dict(backend='mmhgkd.WholeFileBackend')
        super().before_train(runner)
        self._saved = runner.iter
        if is_main_process() and osp.isdir(self.out_dir):
            remove_partial_files(self.out_dir)
        parameters = dict(unwrapped(runner.model).named_parameters())
        for name, gradient in self._gradients.items():
            parameter = parameters[name]
            parameter.grad = gradient.to(parameter.device)
        self._gradients = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the gradients that wait for the optimizer."""
        if self._gradients:
            checkpoint['gradients'] = self._gradients

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the gradients that wait for the optimizer."""
        if runner._resume:
            self._gradients = checkpoint.pop('gradients', {})

    def save_now(self, runner: Runner, done: int, together: bool) -> None:
        """Save the run, unless that has just been done.

        Args:
            runner (Runner): The runner.
            done (int): Iterations that the run has completed.
            together (bool): Whether all ranks call it. Without the others a
                rank cannot save gradients that wait for the optimizer.
        """
        waits = _waits_for_step(runner)
        alone = not together and get_world_size() > 1
        if self._saved == done or (alone and waits):
            return
        if waits:
            self._gradients = _gradients(runner)
        runner.logger.info(f'Saving checkpoint at {done} iterations')
        self._write(runner, INTERRUPTED, dict(epoch=runner.epoch, iter=done))

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        outdated: list[int] = []
        if self.max_keep_ckpts > 0:
            kept = [*self.keep_ckpt_ids]
            if kept[-1:] != [step]:
                kept.append(step)
            outdated = kept[: -self.max_keep_ckpts]
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept[-self.max_keep_ckpts :])
            runner.message_hub.update_info(
                'keep_ckpt_ids', list(self.keep_ckpt_ids)
            )
        if _waits_for_step(runner):
            self._gradients = _gradients(runner)
        self._write(runner, self.filename_tmpl.format(step), meta)
        if is_main_process():
            for name in map(self.filename_tmpl.format, outdated):
                self._remove(self._path(name))
            self._remove(self._path(INTERRUPTED))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        backend = self.file_backend
        self.file_backend = late = _LateRemoval(backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        current = {
            getattr(self, 'best_ckpt_path', None),
            *getattr(self, 'best_ckpt_path_dict', {}).values(),
        }
        for path in late.paths:
            if path not in current:
                self._remove(path)

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        """Write a checkpoint, then the record of the last one."""
        self.last_ckpt = self._path(name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._gradients = {}
        self._saved = meta['iter']
        if is_main_process():
            WholeFileBackend().put(
                str(self.last_ckpt).encode(),
                osp.join(runner.work_dir, 'last_checkpoint'),
            )

    def _path(self, name: str) -> str:
        return self.file_backend.join_path(self.out_dir, name)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)


class _LateRemoval:
    """A file backend that only notes what is to be removed."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.paths: list[str] = []

    def remove(self, path: str) -> None:
        self.paths.append(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


def _waits_for_step(runner: Runner) -> bool:
    """Whether gradients are accumulated for a later step."""
    wrapper = runner.optim_wrapper
    return (
        getattr(wrapper, '_accumulative_counts', 1) > 1
        and not wrapper.should_update()
    )


def _gradients(runner: Runner) -> dict[str, Tensor]:
    """Accumulated gradients, the mean over all ranks as DDP would take it."""
    gradients = {}
    for name, parameter in unwrapped(runner.model).named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad.detach().clone()
            all_reduce(gradient, op='mean')
            gradients[name] = gradient.cpu()
    return gradients
