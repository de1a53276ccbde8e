"""Ends trainings of the soak test in the midst of them."""

from typing import Any

from mmengine.hooks import Hook

NO_WORKERS = {
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
}
ITERATIONS = {
    **NO_WORKERS,
    'train_cfg': dict(type='IterBasedTrainLoop', max_iters=10),
}


class Killed(Exception):
    pass


class KillHook(Hook):
    """Ends a run after an iteration, before anything else can happen."""

    priority = 'LOWEST'

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.iter + 1 == self.iteration:
            raise Killed
