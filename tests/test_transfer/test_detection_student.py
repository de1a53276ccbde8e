"""A distilled student inside of a detector of MMDetection."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.mark.parametrize(
    ('pretraining', 'detection'),
    [
        ('r18_quickstart', 'mask-rcnn_hgkd-r18_scenes'),
        ('r18_scenes', 'mask-rcnn_hgkd-r18_coco-mini'),
        ('cspnext-tiny_folder', 'rtmdet-tiny_hgkd-cspnext-tiny_scenes'),
    ],
)
def test_same_features(
    pretraining: str, detection: str, tmp_path: Path
) -> None:
    config = Config.fromfile(CONFIGS / f'hgkd/{pretraining}.py')
    config.model.data_preprocessor = config.data_preprocessor
    config.model.teacher.checkpoint = str(
        CONFIGS / 'mae/vit-micro_scenes.safetensors'
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        distiller = MODELS.build(config.model)
    for name, buffer in distiller.backbone.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=distiller.state_dict()), checkpoint)

    config = Config.fromfile(CONFIGS / f'detection/{detection}.py')
    config.model.backbone.init_cfg.checkpoint = str(checkpoint)
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(config.model)
        detector.init_weights()
    expected = distiller.backbone.state_dict()
    found = detector.backbone.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)

    # Both load images as BGR and turn them.
    image = torch.randint(0, 256, (1, 3, 64, 96)).float()
    distiller.backbone.train(False)
    detector.train(False)
    with torch.no_grad():
        theirs = distiller.extract_feat(
            distiller.data_preprocessor(
                dict(inputs=[image], data_samples=None)
            )['inputs'][0]
        )
        ours = detector.backbone(
            detector.data_preprocessor(dict(inputs=[image[0]]))['inputs']
        )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
