"""A work folder as a short distillation leaves it, without the training."""

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmhgkd.registry import MODELS

PIPELINE = [
    dict(type='mmhgkd.LoadImage'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs', meta_keys=('split',)),
]


def config(data_root: Path, **model: Any) -> Config:
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='mmhgkd.HGKD',
                teacher=dict(type='mmhgkd.PixelTeacher'),
                mask=dict(type='mmhgkd.RandomUnitMask', mask_ratio=0.5),
                backbone=dict(
                    type='mmhgkd.SparseResNet',
                    depth=18,
                    stem_channels=8,
                    base_channels=8,
                ),
                neck=dict(
                    type='mmhgkd.UNetNeck',
                    in_channels=(8, 16, 32, 64),
                    width=16,
                    out_channels=768,
                ),
                head=dict(
                    type='mmhgkd.DistillationHead',
                    feature_loss=dict(
                        type='mmhgkd.FeatureImitationLoss', region='masked'
                    ),
                ),
                **model,
            ),
            data_preprocessor=dict(
                type='SelfSupDataPreprocessor',
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
            ),
            train_dataloader=dict(
                batch_size=4,
                dataset=dict(
                    type='mmhgkd.ImageFolder',
                    data_root=str(data_root),
                    split='val',
                    pipeline=PIPELINE,
                ),
            ),
        )
    )


def write_run(folder: Path, data_root: Path) -> Path:
    cfg = config(data_root)
    logs = folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    cfg.dump(logs / 'config.py')
    rows = [
        dict(loss=1 / n, lr=0.1, time=0.5, data_time=0.0, epoch=n, iter=n)
        for n in (1, 2)
    ]
    rows.append({'knn/top1': 12.5, 'step': 2})
    (logs / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(cfg.model, data_preprocessor=cfg.data_preprocessor)
    )
    path = folder / 'epoch_2.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=2)), path)
    (folder / 'last_checkpoint').write_text(str(path))
    return folder
