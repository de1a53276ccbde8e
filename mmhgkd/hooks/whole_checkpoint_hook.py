import os.path as osp
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch import Tensor

from mmhgkd.registry import HOOKS
from mmhgkd.runner.find_checkpoint import INTERRUPTED, write_run_id
from mmhgkd.utils import ConfigError
from mmhgkd.utils.unwrapped import unwrapped
from mmhgkd.utils.whole_file import WholeFileBackend, remove_partial_files

from .finite_state import not_finite_buffers
from .invalid_loss_hook import check_state


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

    Only files of its own folder are removed: a copied folder knows the paths
    of the one that it is a copy of.
    """

    backend_args: dict | None
    file_backend: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._saved = -1
        self._gradients: dict[str, Tensor] = {}
        self._ignored: frozenset[str] = frozenset()
        self._outdated: set[str] = set()

    def before_run(self, runner: Runner) -> None:
        """Note which buffers hold infinities on purpose.

        No checkpoint is loaded yet, whose infinities are no purpose.
        """
        super().before_run(runner)
        self._ignored = not_finite_buffers(runner)

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder, and put gradients back that were waiting."""
        is_plain = self.file_client_args is None and self.backend_args is None
        if is_plain and '://' not in str(self.out_dir):
            self.backend_args = dict(backend='mmhgkd.WholeFileBackend')
        super().before_train(runner)
        self._saved = runner.iter
        if getattr(runner, 'data_changed', False):
            self._gradients = {}  # of a part of a step that begins anew
        self._forget_other_folders()
        if getattr(runner, 'branches_off', False):
            # There has to be a checkpoint before those that are there do not
            # count any more.
            self._check(runner, runner.iter)
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._write(runner, INTERRUPTED, meta)
        else:
            info = runner.message_hub.runtime_info
            self._outdated.update(info.get('outdated_ckpts', ()))
        if is_main_process():
            if osp.isdir(self.out_dir):
                remove_partial_files(self.out_dir)
            self._remove_outdated()
            write_run_id(runner.work_dir, getattr(runner, 'run_id', None))
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
        self._check(runner, done, together)
        if waits:
            self._gradients = _gradients(runner)
        runner.logger.info(f'Saving checkpoint at {done} iterations')
        self._write(runner, INTERRUPTED, dict(epoch=runner.epoch, iter=done))

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        self._check(runner, meta['iter'])
        if self.max_keep_ckpts > 0:
            kept = [*self.keep_ckpt_ids]
            if kept[-1:] != [step]:
                kept.append(step)
            outdated = kept[: -self.max_keep_ckpts]
            self._outdated.update(map(self.filename_tmpl.format, outdated))
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept[-self.max_keep_ckpts :])
            runner.message_hub.update_info(
                'keep_ckpt_ids', list(self.keep_ckpt_ids)
            )
        if _waits_for_step(runner):
            self._gradients = _gradients(runner)
        self._write(runner, self.filename_tmpl.format(step), meta)
        self._outdated.add(INTERRUPTED)
        self._remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        missing = set(self.key_indicators) - {'auto', *metrics}
        if missing:
            raise ConfigError(
                f'`default_hooks.checkpoint.save_best` is `{min(missing)}`, '
                'which is no figure of the validation; there are '
                f'{", ".join(f"`{name}`" for name in sorted(metrics))}'
            )
        backend = self.file_backend
        self.file_backend = _LateRemoval(backend, self._outdated)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        self._remove_outdated()

    def _check(self, runner: Runner, done: int, together: bool = True) -> None:
        """Keep what is not finite from taking the place of what is.

        Raises:
            FloatingPointError: On all ranks, if they call it together.
        """
        error = None
        try:
            runner.call_hook('check_losses')
            check_state(runner, done, self._ignored)
        except FloatingPointError as found:
            error = found
        if together and get_world_size() > 1:
            flag = torch.tensor(int(error is not None))
            all_reduce(flag, op='max')
            if error is None and int(flag):
                error = FloatingPointError(
                    'the training of another process is not finite any more, '
                    f'see its message: nothing is saved at iteration {done}'
                )
        if error is not None:
            raise error

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        """Write a checkpoint, then the record of the last one."""
        self.last_ckpt = self._path(name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        # Whoever is killed before they are gone removes them when resumed.
        runner.message_hub.update_info(
            'outdated_ckpts', sorted(self._outdated)
        )
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
        record = osp.join(runner.work_dir, 'last_checkpoint')
        if is_main_process() and not osp.isdir(record):
            WholeFileBackend().put(str(self.last_ckpt).encode(), record)

    def _forget_other_folders(self) -> None:
        """Take the best checkpoints from this folder, or from none."""

        def here(path: str | None) -> str | None:
            own = self._path(osp.basename(path)) if path else None
            return own if own and self.file_backend.isfile(own) else None

        if 'best_ckpt_path' in vars(self):
            self.best_ckpt_path = here(vars(self)['best_ckpt_path'])
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[key] = here(path)

    def _remove_outdated(self) -> None:
        if isinstance(self.file_backend, _LateRemoval):
            return  # the new best checkpoint is not there yet
        current = {
            getattr(self, 'best_ckpt_path', None),
            *getattr(self, 'best_ckpt_path_dict', {}).values(),
        }
        for path in map(self._path, sorted(self._outdated)):
            if (
                is_main_process()
                and path not in current
                and self.file_backend.isfile(path)
            ):
                self.file_backend.remove(path)
        self._outdated.clear()

    def _path(self, name: str) -> str:
        return self.file_backend.join_path(self.out_dir, name)


class _LateRemoval:
    """A file backend that only notes what is to be removed."""

    def __init__(self, backend: Any, names: set[str]) -> None:
        self.backend = backend
        self.names = names

    def remove(self, path: str) -> None:
        self.names.add(osp.basename(path))

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
