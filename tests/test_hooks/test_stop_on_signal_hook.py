import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmhgkd.hooks import StopOnSignalHook
from mmhgkd.utils import ConfigError, RunError, RunStopped


def write(folder: Path, iteration: int) -> None:
    content = dict(meta=dict(iter=iteration), state_dict={}, message_hub={})
    torch.save(content, folder / f'iter_{iteration}.pth')


@pytest.fixture
def runner(tmp_path: Path) -> SimpleNamespace:
    calls: list[tuple[str, int, bool]] = []

    def call_hook(name: str, done: int, together: bool) -> None:
        calls.append((name, done, together))
        write(tmp_path, done)

    return SimpleNamespace(
        iter=6,
        rank=0,
        work_dir=str(tmp_path),
        optim_wrapper=None,
        calls=calls,
        call_hook=call_hook,
    )


NAMES = ['SIGUSR1', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']


@pytest.mark.parametrize('name', NAMES)
def test_saves_and_stops_after_the_step(
    name: str, runner: SimpleNamespace
) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    run = runner
    hook = StopOnSignalHook()
    hook.before_train(run)
    hook.after_train_iter(run, 0)
    os.kill(os.getpid(), number)
    with pytest.raises(RunStopped, match=f'{name} after iteration 7') as error:
        hook.after_train_iter(run, 0)
    assert error.value.exit_code == os.EX_TEMPFAIL
    assert run.calls == [('save_now', 7, True)]
    assert signal.getsignal(number) == before


def test_waits_for_the_step_of_the_optimizer(runner: SimpleNamespace) -> None:
    wrapper = SimpleNamespace(
        _accumulative_counts=2, should_update=lambda: False
    )
    run = runner
    run.optim_wrapper = wrapper
    hook = StopOnSignalHook()
    hook.before_train(run)
    os.kill(os.getpid(), signal.SIGUSR1)
    hook.after_train_iter(run, 0)
    assert run.calls == []
    wrapper.should_update = lambda: True
    with pytest.raises(RunStopped):
        hook.after_train_iter(run, 1)


def test_cuts_a_validation_off(runner: SimpleNamespace) -> None:
    run = runner
    hook = StopOnSignalHook()
    hook.before_train(run)
    hook.after_val_iter(run, 0)
    os.kill(os.getpid(), signal.SIGUSR1)
    write(Path(run.work_dir), 6)
    with pytest.raises(RunStopped):
        hook.after_val_iter(run, 1)
    assert run.calls == []  # it was saved before the validation


def test_system_without_its_signals(
    monkeypatch: pytest.MonkeyPatch, runner: SimpleNamespace
) -> None:
    monkeypatch.delattr(signal, 'SIGUSR1')
    monkeypatch.delattr(signal, 'SIGCHLD')
    run = runner
    hook = StopOnSignalHook()
    hook.before_train(run)
    hook.after_train_iter(run, 0)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(RunStopped, match='SIGTERM after iteration 7'):
        hook.after_train_iter(run, 0)
    with pytest.raises(ConfigError, match='SIGUSR1, which is no signal'):
        StopOnSignalHook(signals=['SIGUSR1'])


def test_second_interrupt_ends_at_once() -> None:
    """Even one that no handler of Python could see."""
    code = """
import signal, time
from types import SimpleNamespace
from mmhgkd.hooks import StopOnSignalHook
hook = StopOnSignalHook()
hook.before_train(SimpleNamespace(iter=0))
signal.raise_signal(signal.SIGINT)
print('goes on', flush=True)
signal.raise_signal(signal.SIGINT)
print('too far', flush=True)
"""
    process = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert process.returncode == -signal.SIGINT
    assert process.stdout.endswith('goes on\n')
    assert 'Ctrl-C again ends it at once' in process.stderr


def test_same_interrupt_by_two_ways(
    runner: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal sends it to each rank, and the launcher does, too."""
    hook = StopOnSignalHook()
    hook.before_train(runner)
    hook._group = object()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    killed: list[int] = []
    monkeypatch.setattr(os, 'kill', lambda pid, number: killed.append(number))
    monkeypatch.setattr(time, 'monotonic', lambda: hook._time + 3)
    signal.raise_signal(signal.SIGINT)
    hook.after_train(runner)
    assert killed == [signal.SIGINT]


def test_signal_that_nohup_keeps_away() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in StopOnSignalHook().signals
        assert signal.SIGINT in StopOnSignalHook().signals
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize('saved', [None, 6, 7, 8])
def test_says_what_there_is_to_resume(
    runner: SimpleNamespace, saved: int | None
) -> None:
    """A job that is queued again must get further."""
    runner.call_hook = lambda *args, **kwargs: None
    hook = StopOnSignalHook()
    hook.before_train(runner)
    runner.iter = 8
    if saved:
        write(Path(runner.work_dir), saved)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(RunError) as error:
        hook.after_train_iter(runner, 0)
    if saved in (7, 8):
        assert error.value.exit_code == os.EX_TEMPFAIL
        assert f'the last checkpoint is of iteration {saved}' in str(
            error.value
        )
    else:
        assert error.value.exit_code == 3
        assert 'nothing is saved' in str(error.value)


def test_options() -> None:
    with pytest.raises(ConfigError, match='SIGNONE'):
        StopOnSignalHook(signals=['SIGNONE'])
    with pytest.raises(ConfigError, match='interval'):
        StopOnSignalHook(interval=0)
