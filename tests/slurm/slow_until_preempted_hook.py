import os
import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

PREEMPTIONS = 2


@HOOKS.register_module()
class SlowUntilPreemptedHook(Hook):
    """Leaves Slurm the time to preempt a training of milliseconds."""

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        restarts = int(os.environ.get('SLURM_RESTART_COUNT', '0'))
        if restarts < PREEMPTIONS:
            print('slow, restarts:', restarts, flush=True)
            time.sleep(2)
