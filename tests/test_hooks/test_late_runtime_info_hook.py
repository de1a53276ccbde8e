from types import SimpleNamespace

import torch
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from torch import Tensor

from mmhgkd.hooks import LateRuntimeInfoHook
from mmhgkd.utils.late_scalars import LateHistory


def test_reads_no_loss_before_the_log_does() -> None:
    runner = SimpleNamespace(message_hub=MessageHub('late hook'))
    hook = HOOKS.build(dict(type='mmhgkd.LateRuntimeInfoHook'))
    assert isinstance(hook, LateRuntimeInfoHook)
    reads = []

    class Watched(Tensor):
        def item(self) -> float:
            reads.append('item')
            return super().item()

        def tolist(self) -> list:
            reads.append('tolist')
            return super().tolist()

    for index in range(3):
        loss = torch.tensor(float(index)).as_subclass(Watched)
        hook.after_train_iter(runner, index, None, dict(loss=loss, lr=0.1))
    hook.after_train_iter(runner, 3, None, None)
    assert reads == []
    history = runner.message_hub.get_scalar('train/loss')
    assert isinstance(history, LateHistory)
    assert history.mean() == 1
    assert len(reads) == 1
    rates = runner.message_hub.get_scalar('train/lr')
    assert rates.data[0].tolist() == [0.1] * 3
