from typing import Any

import pytest
from mmengine.runner import Runner

from mmhgkd.runner import ResumableRunner


@pytest.mark.parametrize(
    ('hooks', 'settings'),
    [
        (None, dict(interval=1)),
        ({}, dict(interval=1)),
        (dict(timer=None), dict(interval=1)),
        (dict(checkpoint=dict(type='CheckpointHook')), dict(interval=1)),
        (
            dict(checkpoint=dict(type='CheckpointHook', by_epoch=False)),
            dict(interval=1000, by_epoch=False),
        ),
        (
            dict(checkpoint=dict(type='CheckpointHook', interval=-1)),
            dict(interval=-1),
        ),
    ],
)
def test_a_run_keeps_checkpoints_without_being_asked(
    hooks: dict | None, settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MMEngine does: one of each epoch."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(
        Runner, 'register_default_hooks', lambda self, x: found.update(x)
    )
    runner = ResumableRunner.__new__(ResumableRunner)
    runner.register_default_hooks(hooks)
    assert found['checkpoint'] == dict(
        settings, type='mmhgkd.WholeCheckpointHook'
    )
