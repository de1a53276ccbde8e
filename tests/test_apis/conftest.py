from pathlib import Path

import pytest

from mmhgkd.apis import Distillation, distill
from mmhgkd.datasets.scenes import write_scenes


@pytest.fixture(scope='session')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(
        tmp_path_factory.mktemp('data') / 'scenes', 'cls', 12, 6
    )


@pytest.fixture(scope='session')
def result(
    scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Distillation:
    return distill(
        scenes / 'train',
        tmp_path_factory.mktemp('work'),
        'resnet18',
        'shipped',
        epochs=2,
        batch_size=6,
        workers=0,
        options={
            'model.backbone.base_channels': 16,
            'model.backbone.stem_channels': 16,
        },
    )
