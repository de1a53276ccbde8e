import logging
from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from .guarded_batches import guarded_batches
from .seeded_batch_sampler import SeededBatchSampler
from .seeding import seed_process


class ResumableEpochLoop(EpochBasedTrainLoop):
    """Trains by epochs, and resumes within one.

    :class:`mmengine.runner.EpochBasedTrainLoop` starts the epoch anew, and
    goes on with random numbers that no checkpoint holds. Here all of them
    follow from the seed and the place in the run. A validation that was cut
    off is repeated.
    """

    _skip = 0

    def run(self) -> nn.Module:
        """Train up to the last epoch."""
        self._skip = self._batches_done()
        self.runner.call_hook('before_train')
        if self._iter > 0 and not self._skip:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train one epoch, or the rest of it."""
        skip, self._skip = self._skip, 0
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in enumerate(self._batches(skip), skip):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch."""
        seed_process(self.runner.base_seed, self._iter, self.runner.rank)
        super().run_iter(idx, data_batch)

    def _batches_done(self) -> int:
        length = len(self.dataloader)
        done = self._iter - self._epoch * length
        if 0 <= done <= length:
            return done
        print_log(
            f'The checkpoint was written at iteration {self._iter} of epoch '
            f'{self._epoch + 1}, but an epoch has {length} iterations now: '
            'the data, the batch size or the number of processes differs. '
            'The epoch starts anew.',
            logger='current',
            level=logging.WARNING,
        )
        return 0

    def _batches(self, skip: int) -> Iterator[Any]:
        sampler = self.dataloader.batch_sampler
        seeded = isinstance(sampler, SeededBatchSampler)
        if seeded:
            sampler.begin(self._epoch, skip)
        for index, batch in enumerate(
            guarded_batches(self.runner, self.dataloader)
        ):
            if seeded or index >= skip:
                yield batch

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (
                self._epoch % self.val_interval == 0
                or self._epoch == self._max_epochs
            )
        ):
            self.runner.call_hook('save_now', done=self._iter, together=True)
            self.runner.val_loop.run()
