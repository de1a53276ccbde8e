import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
model = dict(type='mmhgkd.HGKD', backbone=dict(type='SparseResNet', depth=18))
train_dataloader = dict(batch_size=64, dataset=dict(data_root='<images> & co'))
"""
LOG = """2026/11/23 11:30:30 - mmengine - INFO -
------------------------------------------------------------
System environment:
    sys.platform: linux
    PyTorch: 2.14
    PyTorch compiling details: PyTorch built with:
  - GCC 13.3

Runtime environment:
    seed: 0
    GPU number: 2
------------------------------------------------------------
"""

Write = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Writes the log of one start of a run as MMEngine does."""

    def write(
        name: str,
        rows: Sequence[dict[str, Any] | str],
        start: str = '20260101_000000',
        config: str = CONFIG,
    ) -> Path:
        folder = tmp_path / name / start
        (folder / 'vis_data').mkdir(parents=True)
        (folder / 'vis_data' / 'config.py').write_text(config)
        (folder / f'{start}.log').write_text(LOG)
        (folder / 'vis_data' / 'scalars.json').write_text(
            '\n'.join(
                row if isinstance(row, str) else json.dumps(row)
                for row in rows
            )
        )
        return tmp_path / name

    return write
