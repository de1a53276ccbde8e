from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmhgkd.registry import HOOKS
from mmhgkd.utils.late_scalars import read_scalars

from .finite_state import find_not_finite, not_finite_buffers

MEND = (
    'Lower `optim_wrapper.optimizer.lr`, set `optim_wrapper.clip_grad`, or '
    'train without --amp; resume from the last checkpoint in'
)


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stops a run whose loss is no longer finite.

    Going on would only overwrite good checkpoints with bad ones. The message
    names the first bad iteration and the files of its batch, and what is
    known of it is written to ``invalid_loss_rank0.pth`` in the work folder:
    losses, files and, if it is the iteration of the check, the inputs.

    Weights, buffers such as running statistics, accumulated gradients and the
    state of the optimizer are looked at, too: they are what the last step
    leaves behind. Besides the interval there is a check at the end of each
    epoch and of the training, and :class:`WholeCheckpointHook` asks for one
    before it saves.

    Args:
        interval (int): Iterations between two checks; each makes the host
            wait for the device. Defaults to 50.
    """

    priority = 'VERY_HIGH'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._recent: list[tuple[int, dict[str, Tensor], list[str]]] = []
        self._ignored: frozenset[str] = frozenset()

    def before_run(self, runner: Runner) -> None:
        """Note which buffers hold infinities on purpose.

        No checkpoint is loaded yet, whose infinities are no purpose.
        """
        self._ignored = not_finite_buffers(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Check the losses since the last check."""
        if not outputs:
            return
        losses = {
            name: value.detach()
            for name, value in outputs.items()
            if 'loss' in name
        }
        norm = getattr(
            getattr(runner, 'optim_wrapper', None), 'last_norm', None
        )
        if norm is not None:
            # No scaler passes over a step whose gradient is not finite.
            losses['norm of the gradient'] = norm
        self._recent.append((runner.iter, losses, image_files(data_batch)))
        last = batch_idx + 1 == len(
            runner.train_dataloader
        ) or self.is_last_train_iter(runner)
        if not (last or self.every_n_train_iters(runner, self.interval)):
            return
        self.check_losses(runner, data_batch)
        check_state(runner, runner.iter + 1, self._ignored)

    def check_losses(self, runner: Runner, data_batch: Any = None) -> None:
        """Check the losses since the last check.

        Args:
            runner (Runner): The runner.
            data_batch (Any): The batch at hand. Defaults to None.

        Raises:
            FloatingPointError: If one is not finite.
        """
        recent, self._recent = self._recent, []
        # All at once, as each look waits for the device.
        places = [i for i, x in enumerate(recent) for _ in x[1]]
        finite = read_scalars(
            [value.isfinite().all() for x in recent for value in x[1].values()]
        )
        for place, good in zip(places, finite, strict=True):
            if not good:
                self._stop(runner, *recent[place], data_batch)

    def _stop(
        self,
        runner: Runner,
        iteration: int,
        losses: dict[str, Tensor],
        files: list[str],
        data_batch: Any,
    ) -> None:
        bad = {
            k: float(v) for k, v in losses.items() if not v.isfinite().all()
        }
        content = dict(iteration=iteration + 1, losses=losses, files=files)
        content['inputs'] = None
        if iteration == runner.iter and isinstance(data_batch, dict):
            content['inputs'] = data_batch.get('inputs')
        dump = Path(runner.work_dir) / f'invalid_loss_rank{runner.rank}.pth'
        torch.save(content, dump)
        batch = (
            f' Its batch begins with {", ".join(files[:3])}.' if files else ''
        )
        raise FloatingPointError(
            f'the loss is not finite any more at iteration {iteration + 1} '
            f'(epoch {runner.epoch + 1}): {bad}.{batch} All of it is in '
            f'{dump}. {MEND} {runner.work_dir}'
        )


def check_state(
    runner: Runner, done: int, ignored: Collection[str] = ()
) -> None:
    """Check all that a training changes.

    Args:
        runner (Runner): The runner.
        done (int): Iterations that it has completed.
        ignored (Collection[str]): Names of buffers that do not count.
            Defaults to ().

    Raises:
        FloatingPointError: If something is not finite on this rank.
    """
    names = find_not_finite(runner, ignored)
    if names:
        others = f' and {len(names) - 1} more' if names[1:] else ''
        raise FloatingPointError(
            f'after iteration {done} {names[0]}{others} is not finite. '
            f'{MEND} {runner.work_dir}'
        )


def image_files(data_batch: Any) -> list[str]:
    """Paths of the images of a batch, as far as its samples name them."""
    if not isinstance(data_batch, dict):
        return []
    samples = data_batch.get('data_samples')
    if not isinstance(samples, Sequence):
        return []
    paths = (getattr(sample, 'img_path', None) for sample in samples)
    return [str(path) for path in paths if path is not None]
