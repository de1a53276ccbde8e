import importlib
import importlib.util
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

CONFIG = """
custom_imports = dict(imports=['tool_task'])
experiment_name = '{name}'
model = dict(type='ToolModel')
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToolDataset'))
val_dataloader = train_dataloader
test_dataloader = train_dataloader
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='ToolMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
load_from = None
"""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f'tool_{Path(name).name}', TOOLS / f'{name}.py'
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def save_backbone() -> ModuleType:
    return _load('model_converters/save_backbone')


@pytest.fixture(scope='session')
def train() -> ModuleType:
    return importlib.import_module('mmhgkd.cli.train')


@pytest.fixture(scope='session')
def test() -> ModuleType:
    return importlib.import_module('mmhgkd.cli.test')


@pytest.fixture(scope='session')
def quickstart() -> ModuleType:
    return _load('quickstart')


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A config whose run takes no time, in a folder that is the current."""
    monkeypatch.chdir(tmp_path)
    # the tools set it for the rest of the process
    monkeypatch.setenv('LOCAL_RANK', '0')
    path = tmp_path / 'toy.py'
    path.write_text(CONFIG.format(name=uuid.uuid4().hex))
    yield path
    for registry in (DefaultScope, MessageHub, MMLogger, Visualizer):
        registry._instance_dict.clear()
