import io
import logging
import re
import time
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from mmhgkd.hooks import ProgressHook


def train(console: Console, plain: bool = False, max_iters: int = 8) -> None:
    hook = ProgressHook(interval=1, console=console, plain=plain)
    runner = SimpleNamespace(
        rank=0,
        world_size=2,
        iter=0,
        epoch=0,
        max_iters=max_iters,
        max_epochs=4,
        logger=logging.getLogger('progress'),
    )
    hook.before_train(runner)
    for iteration in range(2):
        runner.iter = iteration
        if not iteration:
            hook.before_train_epoch(runner)
        time.sleep(0.05)
        hook.before_train_iter(runner, iteration)
        time.sleep(0.01)
        hook.after_train_iter(
            runner,
            iteration,
            dict(inputs=torch.zeros(4, 3, 8, 8)),
            dict(loss=torch.tensor(0.25 + iteration)),
        )
    if hook._progress is not None:
        task = hook._progress.tasks[0]
        # 4 images on each of 2 ranks in each of 2 iterations
        assert hook._images == 16
        assert task.fields['rate'] > 0
        assert 0.5 < task.fields['waiting'] <= 1
        assert hook._waited >= 0.1
    hook.after_train(runner)


def test_shows_the_state_of_the_run() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=130)
    train(console)
    text = console.file.getvalue()
    for part in ('epoch 1', '2/8', 'images/s', 'data ', 'loss 1.2500', 'GiB'):
        assert part in text


@pytest.mark.parametrize('width', [80, 130])
def test_nothing_is_cut_off(width: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    train(console, max_iters=312_500)
    text = console.file.getvalue()
    assert '2/312500' in re.sub(r'\x1b\[[\d;?]*[A-Za-z]', '', text)
    assert ':' in text and 'left' in text
    assert '…' not in text


def test_shows_nothing_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO())
    train(console)
    assert console.file.getvalue() == ''


def test_plain_lines_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=40)
    train(console, plain=True)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 2  # each step is more than a tenth of the training
    assert lines[1].startswith('epoch 1/4, step 2/8, loss 1.2500, ')
    found = re.search(r', (\d+)% waiting for data, ', lines[1])
    assert found is not None and 50 < int(found[1]) <= 100
    assert lines[1].endswith(' s left')
