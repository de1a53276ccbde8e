"""From a distillation checkpoint to a trained segmentor, on scenes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_classification_transfer import folder, run  # noqa: F401

from mmhgkd.apis.configs import config_folder
from mmhgkd.backbones import SparseResNet
from mmhgkd.datasets.scenes import write_scenes
from mmhgkd.necks import UNetNeck


@pytest.fixture(scope='module')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(
        tmp_path_factory.mktemp('seg') / 'scenes', 'seg', 8, 4, 32
    )


@pytest.fixture(scope='module')
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = SparseResNet(18, stem_channels=8, base_channels=8)
    neck = UNetNeck((8, 16, 32, 64), out_channels=12, width=32)
    state = {f'backbone.{k}': v for k, v in network.state_dict().items()}
    state.update({f'neck.{k}': v for k, v in neck.state_dict().items()})
    path = tmp_path_factory.mktemp('student') / 'epoch_1.pth'
    torch.save(dict(state_dict=state, meta=dict(epoch=1)), path)
    return path


def options(scenes: Path, student: Path, head: str) -> list[str]:
    narrow = {
        'upernet': ['model.decode_head.channels=8'],
        'unet': ['model.decode_head.decoder.width=32'],
    }
    return [
        f'data_root={scenes}',
        f'student_checkpoint={student}',
        'model.backbone.stem_channels=8',
        'model.backbone.base_channels=8',
        'model.decode_head.in_channels=[8,16,32,64]',
        *narrow[head],
        'model.data_preprocessor.size=(32,32)',
        'train_dataloader.batch_size=4',
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
    ]


@pytest.mark.parametrize('head', ['upernet', 'unet'])
def test_trains_and_tests(head: str, scenes: Path, student: Path) -> None:
    config = str(
        config_folder() / 'segmentation' / f'{head}_hgkd-r18_scenes.py'
    )
    assert (
        run(
            'train',
            config,
            '--work-dir',
            'run',
            '--cfg-options',
            *options(scenes, student, head),
        )
        == 0
    )
    log = next(Path('run').glob('*/*.log')).read_text()
    assert f'{student}: fits 100 of 100 weights of `backbone`' in log
    if head == 'unet':
        assert (
            'weights of `decode_head.decoder` (UNetNeck), not used: '
            'to_tokens' in log
        )
    assert (
        run(
            'test',
            config,
            'run/iter_2.pth',
            '--work-dir',
            'test',
            '--out',
            'out.json',
            '--out-item',
            'metrics',
            '--cfg-options',
            *options(scenes, student, head),
        )
        == 0
    )
    assert 0 <= json.loads(Path('out.json').read_text())['mIoU'] <= 100


def test_mask_without_class_ends_in_one_line(
    scenes: Path,
    student: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = write_scenes(tmp_path / 'scenes', 'seg', 4, 2, 32)
    mask = root / 'annotations' / 'validation' / '000002.png'
    cv2.imwrite(str(mask), np.full((32, 32), 12, np.uint8))
    config = str(
        config_folder() / 'segmentation' / 'upernet_hgkd-r18_scenes.py'
    )
    assert (
        run(
            'train',
            config,
            '--work-dir',
            'run',
            '--cfg-options',
            *options(root, student, 'upernet'),
        )
        == 2
    )
    error = capsys.readouterr().err
    assert error.startswith(
        f'error: the mask {mask} of `val_dataloader.dataset` has the label 11'
    )
    assert not Path('run').exists()
