from collections.abc import Iterator
from typing import Any

from mmengine.runner import IterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from .guarded_batches import guarded_batches
from .run_error import RunError
from .seeded_batch_sampler import SeededBatchSampler
from .seeding import seed_process


class ResumableIterLoop(IterBasedTrainLoop):
    """Trains by iterations, and resumes exactly.

    See :class:`ResumableEpochLoop`. Batches that were trained on are passed
    over without loading them.
    """

    def run(self) -> nn.Module:
        """Train up to the last iteration."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        skip = 0 if self.fast_forward_on_resume else self._iter
        batches = self._batches(skip)
        if self._iter > 0:
            self._validate()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_iter(self, data_batch: Any) -> None:
        """Train on one batch."""
        seed_process(self.runner.base_seed, self._iter, self.runner.rank)
        super().run_iter(data_batch)

    def _batches(self, skip: int) -> Iterator[Any]:
        """Pass over the data again and again."""
        sampler = self.dataloader.batch_sampler
        seeded = isinstance(sampler, SeededBatchSampler)
        epoch = 0
        while True:
            _set_epoch(self.dataloader, epoch)
            count = 0
            if seeded:
                count = sampler.begin(epoch, skip)
                skip -= count
                if skip and count:
                    epoch += 1
                    continue
            for batch in guarded_batches(self.runner, self.dataloader):
                count += 1
                if skip:
                    skip -= 1
                else:
                    yield batch
            if not count:
                raise RunError(
                    'the dataloader of the training has no batch; '
                    'check `train_dataloader`'
                )
            epoch += 1

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (
                self._iter % self.val_interval == 0
                or self._iter == self._max_iters
            )
        ):
            self.runner.call_hook('save_now', done=self._iter, together=True)
            self.runner.val_loop.run()


def _set_epoch(dataloader: DataLoader, epoch: int) -> None:
    """Let the sampler shuffle anew."""
    samplers: tuple[Any, ...] = (
        dataloader.sampler,
        getattr(dataloader.batch_sampler, 'sampler', None),
    )
    for sampler in samplers:
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)
            return
