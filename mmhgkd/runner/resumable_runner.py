import os.path as osp
import uuid
from functools import partial
from typing import Any

from mmengine.device import get_device
from mmengine.dist import broadcast_object_list
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS, LOOPS, OPTIMIZERS
from mmengine.runner import (
    BaseLoop,
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Runner,
)
from torch import nn
from torch.utils.data import DataLoader

from mmhgkd.utils import ConfigError
from mmhgkd.utils.build_errors import building, check_type
from mmhgkd.utils.find_type import find_type
from mmhgkd.utils.kept_memory import freed_memory_kept
from mmhgkd.utils.safe_files import safe_loading

from .data_record import record_data
from .degenerate import (
    check_best,
    check_distillation,
    check_loop,
    check_named_modules,
    warn_of_unused_keys,
)
from .empty_words import is_for_users
from .find_checkpoint import find_checkpoint, read_checkpoint
from .first_sample import check_first_sample
from .resumable_loops import ResumableEpochLoop, ResumableIterLoop
from .resume_run import check_model, optimizer_names, resume_run
from .run_lock import claimed
from .seeding import seed_samples
from .without_gpu import time_out_words, words_without_gpu

_LOOPS = {
    EpochBasedTrainLoop: ResumableEpochLoop,
    IterBasedTrainLoop: ResumableIterLoop,
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
    #: Identity of the run, which its checkpoints hold; None for a run that
    #: an old version has begun.
    run_id: str | None = None
    #: Whether it goes on elsewhere than at the newest checkpoint of its
    #: folder, so that those that are there do not count any more.
    branches_off = False
    #: Where its checkpoints are, None if that is the work folder.
    checkpoint_dir: str | None = None
    #: What a resumed run has to find as it was, see :func:`record_data`.
    data_record: dict[str, Any] | None = None
    #: Whether it has not found it so.
    data_changed = False
    #: The checkpoint, while the run is resumed from it.
    resumed: dict[str, Any] | None = None

    @property
    def base_seed(self) -> int:
        """Seed of the run, the same on all ranks."""
        different = self._randomness_cfg.get('diff_rank_seed', False)
        return self.seed - self.rank if different else self.seed

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger."""
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(is_for_users)
        return logger

    def train(self) -> nn.Module:
        """Train, from the last checkpoint if that was asked for."""
        self.run_id = uuid.uuid4().hex
        self.checkpoint_dir = self._checkpoint_dir()
        check_best(self)
        check_named_modules(self)
        if self.world_size > 1:
            self.logger.info(time_out_words(self.cfg))
        kept = freed_memory_kept(get_device())
        with safe_loading(), claimed(self.work_dir), kept:
            if self._resume:
                self._choose_checkpoint()
            return super().train()

    def val(self) -> dict:
        """Evaluate on the validation data."""
        with safe_loading():
            return super().val()

    def test(self) -> dict:
        """Evaluate on the test data."""
        with safe_loading():
            return super().test()

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop, with the resumable form of MMEngine's loops."""
        if isinstance(loop, dict):
            loop = dict(loop)
            by_epoch = loop.pop('by_epoch', None)
            if by_epoch is not None:
                loop['type'] = (
                    'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
                )
            if 'type' not in loop:
                raise ConfigError(
                    '`train_cfg` has no `type`; set it to '
                    "'EpochBasedTrainLoop' or 'IterBasedTrainLoop'"
                )
            found = find_type(LOOPS, loop['type'])
            loop['type'] = _LOOPS.get(found, loop['type'])
        with building('train_loop'):
            loop = super().build_train_loop(loop)
        check_loop(self, loop)
        check_first_sample(loop.dataloader, 'train_dataloader')
        check_distillation(self, loop)
        if not seed_samples(loop.dataloader, self.base_seed):
            self.logger.warning(
                'The samples of this dataloader cannot be seeded one by one: '
                'a resumed run will see other augmentations.'
            )
        self.data_record = record_data(loop.dataloader, self.world_size)
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
        if isinstance(dataloader, dict) and get_device() == 'cpu':
            # PyTorch warns of what has no use without a GPU.
            dataloader = {**dataloader, 'pin_memory': False}
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
            built = super().build_optim_wrapper(optim_wrapper)
        if isinstance(optim_wrapper, dict):
            warn_of_unused_keys(self, optim_wrapper)
        return built

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedulers of learning rate and momentum."""
        with building('param_scheduler'):
            return super().build_param_scheduler(scheduler)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop of the validation."""
        with building('val_loop'):
            loop = super().build_val_loop(loop)
        check_first_sample(loop.dataloader, 'val_dataloader')
        return loop

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop of the test."""
        with building('test_loop'):
            loop = super().build_test_loop(loop)
        check_first_sample(loop.dataloader, 'test_dataloader')
        return loop

    def register_default_hooks(
        self, hooks: dict[str, Hook | dict] | None = None
    ) -> None:
        """Register the default hooks and those of a safe run."""
        hooks = dict(hooks or {})
        checkpoint = hooks.get('checkpoint', dict(type='CheckpointHook'))
        kind = None
        if isinstance(checkpoint, dict):
            kind = find_type(HOOKS, checkpoint.get('type'))
        if isinstance(kind, type) and issubclass(kind, CheckpointHook):
            # MMEngine's hook alone saves nothing before the end.
            by_epoch = checkpoint.get('by_epoch', True)
            hooks['checkpoint'] = {
                'interval': 1 if by_epoch else 1000,
                **checkpoint,
            }
        if kind is CheckpointHook:
            hooks['checkpoint']['type'] = 'mmhgkd.WholeCheckpointHook'
        hooks.setdefault(
            'runtime_info', dict(type='mmhgkd.LateRuntimeInfoHook')
        )
        hooks.setdefault('stop', dict(type='mmhgkd.StopOnSignalHook'))
        super().register_default_hooks(hooks)

    def load_checkpoint(
        self, filename: str, *args: Any, **kwargs: Any
    ) -> dict:
        """Load a checkpoint; one that is resumed has to fit the model.

        Raises:
            ConfigError: If the file cannot be read without running code, or
                if the run is resumed and it is that of another model.
        """
        try:
            with safe_loading():
                content = super().load_checkpoint(filename, *args, **kwargs)
        except RuntimeError:  # of the average of EMAHook, which comes first
            if self._resume and '://' not in filename:
                state = read_checkpoint(filename)['state_dict']
                check_model(self.model, state, filename)
            raise
        if self._resume:
            check_model(self.model, content['state_dict'], filename)
            self.resumed = content
        return content

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Go on from a checkpoint, with the settings and data of the config.

        No code of the checkpoint is run, neither its objects nor the config
        that it holds.

        Raises:
            ConfigError: If model, optimizer or schedules are others.
        """
        resume = partial(super().resume, filename, *args, **kwargs)
        with safe_loading():
            resume_run(self, resume)

    def save_checkpoint(
        self, *args: Any, meta: dict | None = None, **kwargs: Any
    ) -> None:
        """Save a checkpoint that says which run it is of."""
        run = dict(
            id=self.run_id,
            data=self.data_record,
            anchor=getattr(self.train_loop, 'anchor', None),
            max_iters=self.max_iters,
            optimizers=optimizer_names(self),
        )
        meta = {**(meta or {}), 'run': run}
        super().save_checkpoint(*args, meta=meta, **kwargs)

    def _checkpoint_dir(self) -> str | None:
        """Where the checkpoints go, None if that is the work folder."""
        for hook in self.hooks:
            if isinstance(hook, CheckpointHook) and hook.out_dir:
                name = osp.basename(self.work_dir.rstrip(osp.sep))
                return osp.join(hook.out_dir, name)
        return None

    def _init_model_weights(self) -> None:
        with building('model.init_cfg'):
            super()._init_model_weights()

    def _log_env(self, env_cfg: dict) -> None:
        with words_without_gpu(self.logger):
            super()._log_env(env_cfg)

    def _choose_checkpoint(self) -> None:
        """Find the checkpoint to go on from, the same for all ranks."""
        automatic = self._resume == 'auto' or self._load_from is None
        choice: list[Any] = [None, None, None]
        if self.rank == 0:
            found = (
                find_checkpoint(self.work_dir, self.checkpoint_dir)
                if automatic
                else (self._load_from, read_checkpoint(str(self._load_from)))
            )
            if found is not None:
                meta = found[1]['meta']
                run_id = (meta.get('run') or {}).get('id')
                choice = [str(found[0]), meta.get('seed'), run_id]
        broadcast_object_list(choice)
        path, seed, run_id = choice
        self._resume = path is not None
        if path is None:
            self.logger.info(
                f'{self.work_dir} holds no checkpoint to resume: '
                'the run starts from the beginning.'
            )
            return
        self._load_from = path
        if automatic:
            self.run_id = run_id
        else:
            self.branches_off = True
        configured = self._randomness_cfg.get('seed')
        if seed is not None and configured != seed:
            # Before the data is shuffled by it.
            if configured is not None:
                self.logger.warning(
                    f'`randomness.seed` is {configured}, but the checkpoint '
                    f'was trained with {seed}, which goes on.'
                )
            self._randomness_cfg['seed'] = seed
            self.set_randomness(**self._randomness_cfg)
