from pathlib import Path

import pytest
import torch

from mmhgkd.apis.distillation.training import last_checkpoint
from mmhgkd.utils import RunError


def test_checkpoint_of_a_copied_run(tmp_path: Path) -> None:
    """What it was a copy of may be gone, or trained further."""
    for name in ('first', 'copy'):
        (tmp_path / name).mkdir()
        content: dict = dict(meta=dict(iter=2, epoch=1), state_dict={})
        content.update(message_hub={}, optimizer={}, param_schedulers=[])
        torch.save(content, tmp_path / name / 'epoch_1.pth')
        record = tmp_path / name / 'last_checkpoint'
        record.write_text(str(tmp_path / 'first' / 'epoch_1.pth'))
    found = last_checkpoint(tmp_path / 'copy')
    assert found == tmp_path / 'copy' / 'epoch_1.pth'
    found.unlink()
    with pytest.raises(RunError, match='holds no checkpoint'):
        last_checkpoint(tmp_path / 'copy')
