"""timm is an optional extra: what does not need it must not import it."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules['timm'] = None
import importlib
import pkgutil

import torch
from torch import nn

import mmhgkd
for module in pkgutil.walk_packages(mmhgkd.__path__, 'mmhgkd.'):
    if module.ispkg:
        importlib.import_module(module.name)

from mmhgkd.backbones import SparseResNet, sparsify
from mmhgkd.masks import RandomUnitMask
from mmhgkd.sparse import DistributedBatchNorm
from mmhgkd.teachers import TimmTeacher

images, mask = torch.ones(2, 3, 64, 64), RandomUnitMask()(2, 64, 64)
network = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.BatchNorm2d(4), nn.ReLU())
for student in (SparseResNet(18, stem_channels=8, base_channels=4),
                sparsify(network)):
    assert student(images, mask)[-1].rows().isfinite().all()
assert type(network[1]) is DistributedBatchNorm
try:
    TimmTeacher('vit_tiny_patch16_224.mae', allow_random=True)
except ImportError as error:
    print('refused:', error)
"""


def test_everything_else_runs_without_timm() -> None:
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert 'refused: TimmTeacher needs timm: pip install "mmhgkd[timm]"' in (
        result.stdout
    )
