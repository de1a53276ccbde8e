"""A CSPNeXt is distilled, becomes RTMDet's backbone, and is exported."""

import json
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from test_detection_runs import REPOSITORY, clean_process, load

from mmhgkd.datasets.scenes import write_scenes
from mmhgkd.deploy import export_onnx

CONFIGS = REPOSITORY / 'configs'
NAME = 'rtmdet-tiny_hgkd-cspnext-tiny_scenes'
ALONE = ('num_workers=0', 'persistent_workers=False')


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('rtmdet')
    write_scenes(folder / 'scenes', 'det', 8, 4, image_size=64)
    return folder


clean = clean_process


@pytest.fixture
def trained(data: Path) -> Iterator[Path]:
    teacher = CONFIGS / 'mae' / 'vit-micro_scenes.safetensors'
    distill = [
        str(CONFIGS / 'hgkd' / 'cspnext-tiny_folder.py'),
        *('--work-dir', 'distilled', '--cfg-options'),
        'train_dataloader.dataset.data_root=scenes/train2017',
        'train_dataloader.batch_size=4',
        f'model.teacher.checkpoint={teacher}',
        'train_cfg.max_epochs=1',
        *(f'train_dataloader.{x}' for x in ALONE),
    ]
    assert load('train').main(distill) == 0
    DefaultScope._instance_dict.clear()
    yield data / 'distilled' / 'epoch_1.pth'


def test_distilled_trained_evaluated_and_exported(trained: Path) -> None:
    student = torch.load(trained, weights_only=False)['state_dict']
    backbone = {k: v for k, v in student.items() if k.startswith('backbone.')}
    cfg = Config.fromfile(CONFIGS / 'detection' / f'{NAME}.py')
    cfg.model.backbone.init_cfg.checkpoint = str(trained)
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(cfg.model)
        detector.init_weights()
    state = detector.state_dict()
    assert {k for k in state if k.startswith('backbone.')} == set(backbone)
    assert all(torch.equal(state[k], v) for k, v in backbone.items())

    loaders = ('train_dataloader', 'val_dataloader')
    detect = [
        str(CONFIGS / 'detection' / f'{NAME}.py'),
        *('--work-dir', 'detected', '--cfg-options', 'data_root=scenes'),
        f'student_checkpoint={trained}',
        'train_dataloader.batch_size=4',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        'default_hooks.logger.interval=1',
        *(f'{loader}.{x}' for loader in loaders for x in ALONE),
    ]
    assert load('train').main(detect) == 0
    scalars = next(Path('detected').glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in scalars.open()]
    assert all(0 < row['loss'] < 100 for row in rows if 'loss' in row)
    assert 0 <= rows[-1]['coco/bbox_mAP'] <= 1

    after = torch.load('detected/epoch_1.pth', weights_only=False)
    changed = [
        not torch.equal(after['state_dict'][k], v)
        for k, v in backbone.items()
        if v.is_floating_point()
    ]
    assert all(changed)

    # Else all scores are close to those of the prior, and their order is
    # chance.
    for key, value in after['state_dict'].items():
        if '.rtm_cls.' in key and value.dim() > 1:
            value.normal_(0, 30, generator=torch.Generator().manual_seed(0))
    torch.save(after, 'detected/epoch_1.pth')
    export = export_onnx('detected/epoch_1.pth', Path('rtmdet.onnx'))
    assert export.differences['boxes'] < 1e-3
    assert export.differences['scores'] < 1e-3
    session = onnxruntime.InferenceSession('rtmdet.onnx')
    names = [output.name for output in session.get_outputs()]
    assert names == ['boxes', 'scores', 'labels']
