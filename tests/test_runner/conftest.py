import importlib
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmhgkd.runner import ResumableRunner

FAULTS = Path(__file__).resolve().parents[1] / 'faults'


@pytest.fixture(scope='session')
def soak() -> Iterator[ModuleType]:
    # The processes that it starts import it by its name.
    sys.path.append(str(FAULTS))
    yield importlib.import_module('soak')
    sys.path.remove(str(FAULTS))


@pytest.fixture
def build(
    soak: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Callable[..., ResumableRunner]]:
    """Builds runners of the training that the soak test uses."""
    monkeypatch.chdir(tmp_path)
    soak.write_images(tmp_path / 'images')

    def runner(work_dir: str, **options: Any) -> ResumableRunner:
        config = Config.fromstring(soak.CONFIG, '.py')
        config.work_dir = work_dir
        config.experiment_name = uuid.uuid4().hex
        config.merge_from_dict(options)
        if 'max_iters' in config.train_cfg:
            config.train_cfg.pop('max_epochs')
        built = ResumableRunner.from_cfg(config)
        # The loggers of MMEngine pass nothing on.
        built.logger.addHandler(caplog.handler)
        return built

    yield runner
    for registry in (DefaultScope, MessageHub, MMLogger, Visualizer):
        registry._instance_dict.clear()
