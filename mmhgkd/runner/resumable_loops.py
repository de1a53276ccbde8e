import logging
from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from mmhgkd.utils import RunError

from .guarded_batches import guarded_batches
from .seeding import SeededBatchSampler, seed_process


class ResumableEpochLoop(EpochBasedTrainLoop):
    """Trains by epochs, and resumes within one.

    :class:`mmengine.runner.EpochBasedTrainLoop` starts the epoch anew, and
    goes on with random numbers that no checkpoint holds. Here all of them
    follow from the seed and the place in the run. A validation that was cut
    off is repeated.
    """

    _skip = 0
    _epoch: int
    _iter: int

    def run(self) -> nn.Module:
        """Train up to the last epoch."""
        self._skip = self._batches_done()
        self.runner.call_hook('before_train')
        if self._iter > 0 and not self._skip:
            _validate(self, self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            _validate(self, self._epoch, self._max_epochs)
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

    def begin_anew(self, length: int) -> str:
        """Go on at the beginning of an epoch, as the data has changed.

        Args:
            length (int): Iterations of an epoch, before.

        Returns:
            str: Where it goes on.
        """
        done = self._iter - self._epoch * length
        if done >= length:
            self._epoch += 1
        self._iter = self._epoch * len(self.dataloader)
        begins = 'starts anew' if 0 < done < length else 'comes next'
        return f'epoch {self._epoch + 1} {begins}'

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
        if 0 < skip == len(self.dataloader):
            return  # no worker has to start for the end of a whole epoch
        sampler = self.dataloader.batch_sampler
        if isinstance(sampler, SeededBatchSampler):
            sampler.begin(self._epoch, skip)
            skip = 0
        for index, batch in enumerate(
            guarded_batches(self.runner, self.dataloader)
        ):
            if index > 2 * len(self.dataloader):
                raise RunError(
                    f'epoch {self._epoch + 1} does not end after its '
                    f'{len(self.dataloader)} iterations; set '
                    '`train_dataloader.sampler` to one that has an end, or '
                    "`train_cfg.type='IterBasedTrainLoop'`"
                )
            if index >= skip:
                yield batch


class ResumableIterLoop(IterBasedTrainLoop):
    """Trains by iterations, and resumes exactly.

    See :class:`ResumableEpochLoop`. Batches that were trained on are passed
    over without loading them.
    """

    #: An iteration, and the pass over the data that begins with it.
    anchor = (0, 0)
    _iter: int

    def run(self) -> nn.Module:
        """Train up to the last iteration."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        skip = self._iter - self.anchor[0]
        if self.fast_forward_on_resume:
            skip = 0
        batches = self._batches(skip)
        if self._iter > 0:
            _validate(self, self._iter, self._max_iters)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            _validate(self, self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_iter(self, data_batch: Any) -> None:
        """Train on one batch."""
        seed_process(self.runner.base_seed, self._iter, self.runner.rank)
        super().run_iter(data_batch)

    def begin_anew(self, length: int) -> str:
        """Go on at the beginning of a pass, as the data has changed.

        Args:
            length (int): Iterations of a pass over the data, before.

        Returns:
            str: Where it goes on.
        """
        begin, number = self.anchor
        passes, done = divmod(self._iter - begin, length)
        self.anchor = (self._iter, number + passes)
        begins = 'starts anew' if done else 'comes next'
        return f'pass {number + passes + 1} over the data {begins}'

    def _batches(self, skip: int) -> Iterator[Any]:
        """Pass over the data again and again."""
        sampler = self.dataloader.batch_sampler
        epoch = self.anchor[1]
        while True:
            _set_epoch(self.dataloader, epoch)
            count = 0
            if isinstance(sampler, SeededBatchSampler):
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


def _validate(
    loop: EpochBasedTrainLoop | IterBasedTrainLoop, done: int, end: int
) -> None:
    """Save and validate the run, if that is due after so many epochs."""
    loop._decide_current_val_interval()
    if (
        loop.runner.val_loop is not None
        and done >= loop.val_begin
        and (done % loop.val_interval == 0 or done == end)
    ):
        loop.runner.call_hook('save_now', done=loop._iter, together=True)
        loop.runner.val_loop.run()


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
