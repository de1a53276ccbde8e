import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from mmhgkd.apis.distillation.quiet_runner import QuietRunner


def test_loading_prints_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'interrupted.pth'
    state = nn.Linear(2, 2).state_dict()
    torch.save(dict(state_dict=state), path)
    runner = object.__new__(QuietRunner)
    runner.model, runner._hooks = nn.Linear(2, 2), []
    runner._resume, runner.logger = True, logging.getLogger('quiet')
    runner.load_checkpoint(str(path))
    assert torch.equal(runner.model.weight, state['weight'])
    assert capsys.readouterr().out == ''
