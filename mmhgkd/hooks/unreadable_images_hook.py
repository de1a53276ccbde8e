import os
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhgkd.datasets import LoadImage
from mmhgkd.registry import HOOKS
from mmhgkd.utils import ConfigError, RunError
from mmhgkd.utils.unwrapped import wrapped_datasets


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Passes over unreadable images in training, and lists them.

    Another image takes the place of one that is broken or missing. Each is
    named once in ``unreadable_images.txt`` in the work folder. The run stops
    when there are too many of them, or when whole folders are gone. This
    works for pipelines with :class:`mmhgkd.datasets.LoadImage`.

    Args:
        max_share (float): Share of the images that may be unreadable, in
            [0, 1]. Defaults to 0.01.
        max_count (int, optional): Number of images that may be unreadable,
            instead of a share. Defaults to None.
        interval (int): Iterations between two looks at the list.
            Defaults to 50.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(
        self,
        max_share: float = 0.01,
        max_count: int | None = None,
        interval: int = 50,
    ) -> None:
        if not 0 <= max_share <= 1:
            raise ConfigError(
                '`max_share` of UnreadableImagesHook must lie in [0, 1], got '
                f'{max_share}'
            )
        if max_count is not None and max_count < 0:
            raise ConfigError(
                '`max_count` of UnreadableImagesHook must not '
                f'be negative, got {max_count}'
            )
        self.max_share = max_share
        self.max_count = max_count
        self.interval = interval
        self._list = Path()
        self._size = 0
        self._count = 0

    def before_train(self, runner: Runner) -> None:
        """Switch the loaders of the training pipeline to passing over."""
        self._list = Path(runner.work_dir) / 'unreadable_images.txt'
        for dataset in wrapped_datasets(runner.train_dataloader.dataset):
            pipeline = getattr(dataset, 'pipeline', None)
            for transform in getattr(pipeline, 'transforms', ()):
                if isinstance(transform, LoadImage):
                    transform.ignore_empty = True
                    transform.unreadable_list = str(self._list)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Count the unreadable images; too many are a RunError."""
        last = batch_idx + 1 == len(runner.train_dataloader)
        if (
            runner.rank != 0
            or not self._list.exists()
            or not (last or self.every_n_train_iters(runner, self.interval))
        ):
            return
        size = os.path.getsize(self._list)
        if size == self._size:
            return
        self._size = size
        # Names of files can be of any bytes.
        count = len(set(self._list.read_bytes().splitlines()))
        if count > self._count:
            runner.logger.warning(
                f'{count} unreadable images so far, see {self._list}'
            )
        self._count = count
        total = len(runner.train_dataloader.dataset)
        share = self.max_share * total
        if count > (share if self.max_count is None else self.max_count):
            runner.call_hook('save_now', done=runner.iter + 1, together=False)
            raise RunError(
                f'{count} of {total} images are unreadable, see {self._list}; '
                'restore or delete them, or raise `max_share` or `max_count` '
                'of UnreadableImagesHook, then add --resume'
            )
