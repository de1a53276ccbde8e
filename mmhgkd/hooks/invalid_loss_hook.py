import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhgkd.registry import HOOKS


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stops a run whose loss is no longer finite.

    Going on would only overwrite good checkpoints with bad ones.

    Args:
        interval (int): Iterations between two checks; each makes the host
            wait for the device. Defaults to 50.
    """

    priority = 'VERY_HIGH'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Check the losses of this iteration.

        Raises:
            FloatingPointError: If one is NaN or infinite.
        """
        last = batch_idx + 1 == len(runner.train_dataloader)
        if not outputs or not (last or self.every_n_train_iters(
                runner, self.interval)):
            return
        bad = {
            name: float(value)
            for name, value in outputs.items()
            if 'loss' in name and not torch.isfinite(value).all()
        }
        if bad:
            raise FloatingPointError(
                f'the loss is not finite any more at iteration '
                f'{runner.iter + 1} (epoch {runner.epoch + 1}): {bad}. Lower '
                '`optim_wrapper.optimizer.lr`, set '
                '`optim_wrapper.clip_grad`, or train without --amp; resume '
                f'from the last checkpoint in {runner.work_dir}')
