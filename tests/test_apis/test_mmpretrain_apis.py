"""MMPretrain's inferencers on the models of this project."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmpretrain import (
    FeatureExtractor,
    ImageClassificationInferencer,
    ImageRetrievalInferencer,
    get_model,
)

from mmhgkd.utils import ConfigError

BACKBONE = dict(
    type='mmhgkd.SparseResNet', depth=18, stem_channels=8, base_channels=8
)
NECK = dict(type='GlobalAveragePooling')
PIPELINE = [
    dict(type='mmhgkd.LoadImage'),
    dict(type='ResizeEdge', scale=72, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]


def config(**model: Any) -> Config:
    return Config(
        dict(
            default_scope='mmpretrain',
            data_preprocessor=dict(
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
                to_rgb=True,
            ),
            model=model,
            test_dataloader=dict(
                dataset=dict(type='mmhgkd.ImageFolder', pipeline=PIPELINE)
            ),
        )
    )


def classifier() -> Config:
    head = dict(type='LinearClsHead', num_classes=2, in_channels=64)
    return config(
        type='ImageClassifier', backbone=BACKBONE, neck=NECK, head=head
    )


@pytest.fixture
def photos(class_folders: Path) -> list[str]:
    return sorted(map(str, (class_folders / 'val' / 'a').iterdir()))


def test_classification(photos: list[str]) -> None:
    model = get_model(classifier())
    found = ImageClassificationInferencer(model, classes=['a', 'b'])(photos)
    assert len(found) == len(photos)
    assert all(one['pred_class'] in ('a', 'b') for one in found)


@pytest.mark.parametrize('stage', ['backbone', 'neck', 'pre_logits'])
def test_features(photos: list[str], stage: str) -> None:
    model = get_model(classifier())
    extract = FeatureExtractor(model)
    found = extract(photos, batch_size=2, stage=stage)
    assert len(found) == len(photos)
    last = found[0] if stage == 'pre_logits' else found[0][-1]
    assert last.shape == ((64, 2, 2) if stage == 'backbone' else (64,))


def test_retrieval(photos: list[str], class_folders: Path) -> None:
    settings = config(
        type='ImageToImageRetriever',
        image_encoder=[BACKBONE, NECK],
        prototype='replaced.pth',
    )
    search = ImageRetrievalInferencer(
        settings, prototype=str(class_folders / 'val')
    )
    for photo in photos:
        best = search(photo)[0][0]
        assert Path(best['sample']['img_path']).name == Path(photo).name
        assert best['match_score'].item() == pytest.approx(1, abs=1e-4)


def distillation() -> dict[str, Any]:
    return dict(
        type='mmhgkd.HGKD',
        teacher=dict(type='mmhgkd.PixelTeacher'),
        backbone=BACKBONE,
        neck=dict(
            type='mmhgkd.UNetNeck',
            in_channels=(8, 16, 32, 64),
            width=16,
            out_channels=768,
        ),
        head=dict(
            type='mmhgkd.DistillationHead',
            feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
        ),
    )


def test_features_of_a_pretraining(photos: list[str]) -> None:
    extract = FeatureExtractor(get_model(config(**distillation())))
    maps = extract(photos, stage='backbone')[0][-1]
    means = extract(photos, stage='neck')[0][-1]
    torch.testing.assert_close(means, maps.mean((1, 2)))
    with pytest.raises(ConfigError, match='`stage` of extract_feat'):
        extract(photos, stage='head')
