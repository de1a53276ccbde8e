from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.registry import OPTIMIZERS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmhgkd.utils import ConfigError
from mmhgkd.utils.build_errors import building, check_type
from mmhgkd.utils.safe_files import safe_loading

from .find_checkpoint import find_checkpoint, read_checkpoint
from .resumable_loops import ResumableEpochLoop, ResumableIterLoop
from .seeding import seed_samples
from .without_gpu import words_without_gpu

_LOOPS = {
    'EpochBasedTrainLoop': ResumableEpochLoop,
    'IterBasedTrainLoop': ResumableIterLoop,
}


class ResumableRunner(Runner):
    """MMEngine's runner with runs that survive being killed.

    A resumed run has the weights, bit by bit, of one that was never
    interrupted: all random numbers of training follow from the seed, the
    iteration and the rank, and those of a sample from the seed and its place
    in the order of the data. Checkpoints are written by
    :class:`mmhgkd.hooks.WholeCheckpointHook`, and signals are heeded by
    :class:`mmhgkd.hooks.StopOnSignalHook`, whatever the config says of both.

    ``resume='auto'`` goes on from the last whole checkpoint of the work
    folder. Where there is none it starts from ``load_from``, if that is set.
    """

    _resume: bool | str
    _load_from: str | None

    @property
    def base_seed(self) -> int:
        """Seed of the run, the same on all ranks."""
        different = self._randomness_cfg.get('diff_rank_seed', False)
        return self.seed - self.rank if different else self.seed

    def train(self) -> nn.Module:
        """Train, from the last checkpoint if that was asked for."""
        if self._resume:
            self._choose_checkpoint()
        return super().train()

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop, with the resumable form of MMEngine's loops."""
        if isinstance(loop, dict):
            loop = dict(loop)
            by_epoch = loop.pop('by_epoch', None)
            if by_epoch is not None:
                loop['type'] = (
                    'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
                )
            loop['type'] = _LOOPS.get(loop['type'], loop['type'])
        with building('train_loop'):
            loop = super().build_train_loop(loop)
        if not len(loop.dataloader):
            raise ConfigError(
                f'the {len(loop.dataloader.dataset)} training images do not '
                'fill a batch of every process; lower '
                '`train_dataloader.batch_size`, or set '
                '`train_dataloader.drop_last=False`'
            )
        if not seed_samples(loop.dataloader, self.base_seed):
            self.logger.warning(
                'The samples of this dataloader cannot be seeded one by one: '
                'a resumed run will see other augmentations.'
            )
        return loop

    def build_dataloader(
        self,
        dataloader: DataLoader | dict,
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build a dataloader whose order follows from the seed of the run.

        With ``diff_rank_seed`` MMEngine draws the seed of the sampler from
        NumPy's state, that is, from everything that was built before.
        """
        with building('dataloader'):
            return Runner.build_dataloader(dataloader, self.base_seed, False)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build the optimizer wrapper."""
        kind = None
        if isinstance(optim_wrapper, dict):
            kind = (optim_wrapper.get('optimizer') or {}).get('type')
        if isinstance(kind, str):
            # MMEngine would look into a class that is not there.
            check_type(OPTIMIZERS, kind, None)
        name = getattr(kind, '__name__', kind) or 'optim_wrapper'
        with building(name):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedulers of learning rate and momentum."""
        with building('param_scheduler'):
            return super().build_param_scheduler(scheduler)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop of the validation."""
        with building('val_loop'):
            return super().build_val_loop(loop)

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop of the test."""
        with building('test_loop'):
            return super().build_test_loop(loop)

    def register_default_hooks(
        self, hooks: dict[str, Hook | dict] | None = None
    ) -> None:
        """Register the default hooks and those of a safe run."""
        hooks = dict(hooks or {})
        checkpoint = hooks.get(
            'checkpoint', dict(type='CheckpointHook', interval=1)
        )
        if (
            isinstance(checkpoint, dict)
            and str(checkpoint['type']).split('.')[-1] == 'CheckpointHook'
        ):
            hooks['checkpoint'] = {
                **checkpoint,
                'type': 'mmhgkd.WholeCheckpointHook',
            }
        hooks.setdefault('stop', dict(type='mmhgkd.StopOnSignalHook'))
        super().register_default_hooks(hooks)

    def load_checkpoint(
        self, filename: str, *args: Any, **kwargs: Any
    ) -> dict:
        """Load a checkpoint.

        Raises:
            ConfigError: If the file cannot be read without running code.
        """
        with safe_loading():
            return super().load_checkpoint(filename, *args, **kwargs)

    def resume(self, *args: Any, **kwargs: Any) -> None:
        """Resume a checkpoint, without running the config in it."""
        with safe_loading():
            super().resume(*args, **kwargs)

    def _log_env(self, env_cfg: dict) -> None:
        with words_without_gpu(self.logger):
            super()._log_env(env_cfg)

    def _choose_checkpoint(self) -> None:
        """Find the checkpoint to go on from, the same for all ranks."""
        automatic = self._resume == 'auto' or self._load_from is None
        choice: list[Any] = [None, None]
        if self.rank == 0:
            found = (
                find_checkpoint(self.work_dir)
                if automatic
                else (self._load_from, read_checkpoint(str(self._load_from)))
            )
            if found is not None:
                choice = [str(found[0]), found[1]['meta'].get('seed')]
        broadcast_object_list(choice)
        path, seed = choice
        self._resume = path is not None
        if path is None:
            self.logger.info(
                f'{self.work_dir} holds no checkpoint to resume: '
                'the run starts from the beginning.'
            )
            return
        self._load_from = path
        if seed is not None and self._randomness_cfg.get('seed') is None:
            # Before the data is shuffled by it.
            self._randomness_cfg['seed'] = seed
            self.set_randomness(**self._randomness_cfg)
