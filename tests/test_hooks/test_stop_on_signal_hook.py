import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from mmhgkd.hooks import StopOnSignalHook
from mmhgkd.utils import ConfigError, RunStopped


def runner(**changes: Any) -> SimpleNamespace:
    calls: list[tuple[str, int, bool]] = []
    fields: dict[str, Any] = dict(
        iter=6,
        work_dir='run',
        optim_wrapper=None,
        calls=calls,
        call_hook=lambda name, done, together: calls.append(
            (name, done, together)
        ),
    )
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize('name', ['SIGUSR1', 'SIGTERM'])
def test_saves_and_stops_after_the_step(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    run = runner()
    hook = StopOnSignalHook()
    hook.before_train(run)
    hook.after_train_iter(run, 0)
    os.kill(os.getpid(), number)
    with pytest.raises(RunStopped, match=f'{name} after iteration 7') as error:
        hook.after_train_iter(run, 0)
    assert error.value.exit_code == os.EX_TEMPFAIL
    assert run.calls == [('save_now', 7, True)]
    assert signal.getsignal(number) == before


def test_waits_for_the_step_of_the_optimizer() -> None:
    wrapper = SimpleNamespace(
        _accumulative_counts=2, should_update=lambda: False
    )
    run = runner(optim_wrapper=wrapper)
    hook = StopOnSignalHook()
    hook.before_train(run)
    os.kill(os.getpid(), signal.SIGUSR1)
    hook.after_train_iter(run, 0)
    assert run.calls == []
    wrapper.should_update = lambda: True
    with pytest.raises(RunStopped):
        hook.after_train_iter(run, 1)


def test_cuts_a_validation_off() -> None:
    run = runner()
    hook = StopOnSignalHook()
    hook.before_train(run)
    hook.after_val_iter(run, 0)
    os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(RunStopped):
        hook.after_val_iter(run, 1)
    assert run.calls == []  # it was saved before the validation


def test_system_without_its_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, 'SIGUSR1')
    monkeypatch.delattr(signal, 'SIGCHLD')
    run = runner()
    hook = StopOnSignalHook()
    hook.before_train(run)
    hook.after_train_iter(run, 0)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(RunStopped, match='SIGTERM after iteration 7'):
        hook.after_train_iter(run, 0)
    with pytest.raises(ConfigError, match='SIGUSR1, which is no signal'):
        StopOnSignalHook(signals=['SIGUSR1'])


def test_options() -> None:
    with pytest.raises(ConfigError, match='SIGNONE'):
        StopOnSignalHook(signals=['SIGNONE'])
    with pytest.raises(ConfigError, match='interval'):
        StopOnSignalHook(interval=0)
