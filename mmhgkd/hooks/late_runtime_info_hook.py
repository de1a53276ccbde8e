from typing import Any

from mmengine.hooks import RuntimeInfoHook

from mmhgkd.registry import HOOKS
from mmhgkd.utils.late_scalars import record_scalar


@HOOKS.register_module()
class LateRuntimeInfoHook(RuntimeInfoHook):
    """Passes losses on to the log without waiting for the device.

    They are read when the log is written.
    """

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Record losses and other figures of the step."""
        for key, value in (outputs or {}).items():
            record_scalar(runner.message_hub, f'train/{key}', value)
