"""The annotations of scenes as detections, through MMDetection's metric."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope

from mmhgkd.datasets.scenes import write_scenes
from mmhgkd.utils import load_config

CONFIG = Path(__file__).parents[2] / (
    'configs/detection/mask-rcnn_hgkd-r18_scenes.py'
)


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp('scenes') / 'det'
    write_scenes(root, 'det', num_train=1, num_val=12, image_size=64)
    return load_config(str(CONFIG), dict(data_root=str(root)))


def average_precision(config: Config, error: str) -> tuple[float, float]:
    """AP of boxes and masks if the annotations themselves are detected."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(config.val_dataloader.dataset)
        metric = METRICS.build(config.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    for item in dataset:
        sample = item['data_samples']
        truth = sample.gt_instances
        boxes = truth.bboxes.tensor.clone()
        labels = truth.labels.clone()
        masks = torch.from_numpy(truth.masks.masks.astype(bool))
        if error == 'label':
            labels = (labels + 1) % 10
        elif error == 'place':
            boxes += 64
            masks = ~masks
        prediction = dict(
            bboxes=boxes,
            labels=labels,
            masks=masks,
            scores=torch.ones(len(labels)),
        )
        metric.process(
            {},
            [
                dict(
                    img_id=sample.img_id,
                    ori_shape=sample.ori_shape,
                    pred_instances=prediction,
                )
            ],
        )
    metrics = metric.evaluate(len(dataset))
    return metrics['coco/bbox_mAP'], metrics['coco/segm_mAP']


def test_annotations_are_perfect_detections(config: Config) -> None:
    assert average_precision(config, error='') == (1.0, 1.0)


@pytest.mark.parametrize('error', ['label', 'place'])
def test_wrong_detections_are_not(config: Config, error: str) -> None:
    assert max(average_precision(config, error)) < 0.05
