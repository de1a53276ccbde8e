from typing import Any

import pytest
from mmengine.runner import Runner

from mmhgkd.runner import ResumableRunner


@pytest.mark.parametrize('hooks', [None, {}, dict(timer=None)])
def test_a_run_keeps_checkpoints_without_being_asked(
    hooks: dict | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MMEngine does: one of each epoch."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(
        Runner, 'register_default_hooks', lambda self, x: found.update(x)
    )
    runner = ResumableRunner.__new__(ResumableRunner)
    runner.register_default_hooks(hooks)
    assert found['checkpoint'] == dict(
        type='mmhgkd.WholeCheckpointHook', interval=1
    )
