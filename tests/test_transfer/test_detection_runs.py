"""Detectors train, evaluate and test through the command line tools."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmdet.visualization import DetLocalVisualizer
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope

from mmhgkd.backbones import SparseResNet
from mmhgkd.datasets.scenes import SHAPES, write_scenes

REPOSITORY = Path(__file__).parents[2]

# A few small scenes, four steps, and a student of 18 layers.
CONFIG = """
_base_ = '{base}'

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint='student.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]),
    {head})
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask={masks}),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor'))
]
train_dataloader = dict(
    num_workers=0,
    dataset=dict(
        data_root='scenes',
        metainfo=dict(classes={classes}),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=0,
    dataset=dict(
        data_root='scenes',
        metainfo=dict(classes={classes}),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file='scenes/annotations/instances_val2017.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""
# Without a threshold also detectors that know nothing detect something.
BOX_HEAD = 'bbox_head=dict(num_classes=10), test_cfg=dict(score_thr=0.0)'
MASK_HEAD = """
    roi_head=dict(
        bbox_head=dict(num_classes=10, fc_out_channels=32),
        mask_head=dict(num_classes=10)),
    train_cfg=dict(
        rpn_proposal=dict(max_per_img=20), rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(rpn=dict(max_per_img=20), rcnn=dict(score_thr=0.0))"""


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f'detection_{name}', REPOSITORY / f'tools/{name}.py'
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('detection')
    write_scenes(folder / 'scenes', 'det', 4, 2, image_size=64)
    student = SparseResNet(depth=18)
    weights = {f'backbone.{k}': v for k, v in student.state_dict().items()}
    torch.save(dict(state_dict=weights), folder / 'student.pth')
    return folder


@pytest.fixture(autouse=True)
def clean_process(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.chdir(data)
    monkeypatch.setenv('LOCAL_RANK', '0')
    yield
    for registry in (DefaultScope, MessageHub, MMLogger, DetLocalVisualizer):
        registry._instance_dict.clear()


@pytest.mark.parametrize(
    ('name', 'head'),
    [
        ('mask-rcnn', MASK_HEAD),
        ('retinanet', BOX_HEAD),
        ('fcos', BOX_HEAD),
    ],
    ids=['mask-rcnn', 'retinanet', 'fcos'],
)
def test_train_and_test(name: str, head: str) -> None:
    name = f'{name}_hgkd-r50_fpn_1x_coco'
    config = Path(f'{name}.py')
    config.write_text(
        CONFIG.format(
            base=REPOSITORY / f'configs/detection/{name}.py',
            head=head,
            masks=head == MASK_HEAD,
            classes=SHAPES,
        )
    )
    work_dir = Path('work') / name
    assert load('train').main([str(config), '--work-dir', str(work_dir)]) == 0

    lines = [
        json.loads(line)
        for line in next(work_dir.glob('*/vis_data/scalars.json')).open()
    ]
    losses = [line['loss'] for line in lines if 'loss' in line]
    kinds = ['bbox', 'segm'] if head == MASK_HEAD else ['bbox']
    assert len(losses) == 4 and all(0 < loss < 100 for loss in losses)
    assert all(0 <= lines[-1][f'coco/{kind}_mAP'] <= 1 for kind in kinds)

    student = torch.load('student.pth')['state_dict']
    trained = torch.load(work_dir / 'epoch_2.pth', weights_only=False)[
        'state_dict'
    ]
    for key in ('backbone.conv1.weight', 'backbone.bn1.running_mean'):
        assert trained[key].shape == student[key].shape
        assert not torch.equal(trained[key], student[key])

    metrics = work_dir / 'metrics.json'
    assert (
        load('test').main(
            [
                str(config),
                str(work_dir / 'epoch_2.pth'),
                '--work-dir',
                str(work_dir),
                '--out',
                str(metrics),
                '--out-item',
                'metrics',
            ]
        )
        == 0
    )
    found = json.loads(metrics.read_text())
    for kind in kinds:
        assert found[f'coco/{kind}_mAP'] == lines[-1][f'coco/{kind}_mAP']
