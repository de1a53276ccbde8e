"""What the libraries below say of themselves is left out; no more is."""

import warnings
from collections.abc import Callable

import pytest
import torch
from mmcv.cnn.bricks import HSigmoid
from mmengine.evaluator import DumpResults
from mmengine.logging import MMLogger
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import FUNCTIONS
from mmengine.visualization import Visualizer
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.models.losses import CrossEntropyLoss
from torch import nn

from mmhgkd.runner.command_line import run_tool
from mmhgkd.runner.empty_words import is_for_users


def make_hook() -> None:
    Visualizer.get_instance('run')
    SegVisualizationHook(draw=False)


WARNERS: dict[str, Callable[[], object]] = dict(
    hsigmoid=HSigmoid,
    average=CrossEntropyLoss,
    draw=make_hook,
    meshgrid=lambda: torch.meshgrid(torch.ones(2), torch.ones(3)),
    coco=lambda: warnings.warn(
        'faster_coco_eval is not installed, metrics will not be computed.',
        stacklevel=1,
    ),
)


@pytest.mark.parametrize('name', WARNERS)
def test_empty_warnings(name: str) -> None:
    with warnings.catch_warnings(record=True) as plain:
        warnings.simplefilter('always')
        WARNERS[name]()
    # PyTorch's own are given once in a process.
    assert plain or name == 'meshgrid'
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        assert run_tool(WARNERS[name]) == 0
    assert not found


def test_other_warnings() -> None:
    with pytest.warns(UserWarning, match='careful'):
        run_tool(lambda: warnings.warn('careful', stacklevel=1))


class Shared(nn.Module):
    """A layer with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(1, 1))
        self.b = nn.Sequential(self.a[0])


def build_optimizer() -> None:
    DefaultOptimWrapperConstructor(
        dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1)),
        dict(bias_decay_mult=0.0, bypass_duplicate=True),
    )(Shared())


def find_function() -> None:
    with FUNCTIONS.switch_scope_and_registry('mmdet') as registry:
        assert registry.get('pseudo_collate')


@pytest.mark.parametrize(
    'speak',
    [build_optimizer, find_function, lambda: DumpResults('results.pkl')],
    ids=['duplicate', 'function', 'prefix'],
)
def test_empty_lines(
    speak: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    logger = MMLogger.get_instance('run')
    logger.addHandler(caplog.handler)
    logger.setLevel('WARNING')
    speak()
    assert caplog.records
    caplog.clear()
    logger.addFilter(is_for_users)
    speak()
    logger.warning('careful')
    assert [record.getMessage() for record in caplog.records] == ['careful']
