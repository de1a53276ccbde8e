import json
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from task_files import (
    CLASSES,
    classifier,
    fcos,
    retinanet,
    segmentor,
    two_stage,
    write_task,
)
from torch import Tensor, nn

from mmhgkd.deploy import export_onnx
from mmhgkd.deploy.onnx_file import draw_photos
from mmhgkd.utils import ConfigError
from mmhgkd.version import __version__

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


def build(scope: str, model: dict[str, Any], checkpoint: str) -> Any:
    """The library's own model, by hand."""
    with DefaultScope.overwrite_default_scope(scope):
        built = MODELS.build(Config(dict(model=model)).model)
    content = torch.load(checkpoint, weights_only=True)
    built.load_state_dict(content['state_dict'])
    # What trains on several GPUs is no matter here.
    for part in built.modules():
        if isinstance(part, nn.SyncBatchNorm):
            part.__class__ = nn.BatchNorm2d
    built.train(False)
    return built


def run(path: Path, images: Tensor) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {'images': images.numpy()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


def test_classifier(tmp_path: Path) -> None:
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    export = export_onnx(checkpoint, tmp_path / 'a.onnx')
    assert set(export.differences) == {'embedding', 'logits'}
    images = draw_photos(3, 70, 50, seed=9)
    found = run(tmp_path / 'a.onnx', images)
    model = build('mmpretrain', classifier(), checkpoint)
    with torch.no_grad():
        features = model.backbone((images - MEAN) / STD)[-1].mean((2, 3))
        logits = model.head.fc(features)
    torch.testing.assert_close(
        found['embedding'], features, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(found['logits'], logits, rtol=1e-4, atol=1e-4)


def test_student_of_a_distillation(tmp_path: Path) -> None:
    model = dict(type='mmhgkd.HGKD', backbone=classifier()['backbone'])
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    content = torch.load(checkpoint, weights_only=True)
    content['meta']['cfg'] = Config(
        dict(model=model, default_scope='mmpretrain')
    ).pretty_text
    torch.save(content, checkpoint)
    export = export_onnx(checkpoint, tmp_path / 'a.onnx')
    assert set(export.differences) == {'embedding'}
    assert export.metadata['task'] == 'embedding'


@pytest.mark.parametrize('kind', ['upernet', 'fcn', 'unet'])
def test_segmentors(kind: str, tmp_path: Path) -> None:
    pytest.importorskip('mmseg')
    checkpoint = write_task(tmp_path, 'mmseg', segmentor(kind))
    export_onnx(checkpoint, tmp_path / 'a.onnx')
    # No multiple of a stride either.
    images = draw_photos(2, 110, 75, seed=4)
    found = run(tmp_path / 'a.onnx', images)
    assert found['labels'].shape == (2, 110, 75)
    model = build('mmseg', segmentor(kind), checkpoint)
    with torch.no_grad():
        expected = model.decode_head(model.backbone((images - MEAN) / STD))
        expected = nn.functional.interpolate(
            expected, (110, 75), mode='bilinear', align_corners=False
        )
    torch.testing.assert_close(found['logits'], expected, rtol=1e-3, atol=1e-3)
    same = found['labels'] == expected.argmax(1)
    assert same.float().mean() > 0.999


DETECTORS = {
    'retinanet': retinanet(),
    'fcos': fcos(),
    'faster-rcnn': two_stage(masks=False),
    'mask-rcnn': two_stage(),
}


@pytest.mark.parametrize('name', DETECTORS)
def test_detectors(name: str, tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    from mmdet.structures import DetDataSample

    checkpoint = write_task(tmp_path, 'mmdet', DETECTORS[name])
    export_onnx(checkpoint, tmp_path / 'a.onnx')
    model = build('mmdet', DETECTORS[name], checkpoint)
    for size in ((2, 90, 140), (1, 64, 64)):
        images = draw_photos(*size, seed=size[0])
        found = run(tmp_path / 'a.onnx', images)
        metainfo = dict(
            img_shape=size[1:], ori_shape=size[1:], scale_factor=(1.0, 1.0)
        )
        with torch.no_grad():
            samples = model.test_step(
                dict(
                    inputs=list(images.flip(1)),
                    data_samples=[
                        DetDataSample(metainfo=dict(metainfo, img_id=i))
                        for i in range(size[0])
                    ],
                )
            )
        for index, sample in enumerate(samples):
            expected = sample.pred_instances
            count = len(expected)
            assert count > 3
            assert (found['scores'][index] >= 0).sum() == count
            for key, values in (
                ('boxes', expected.bboxes),
                ('scores', expected.scores),
            ):
                torch.testing.assert_close(
                    found[key][index][:count], values, rtol=1e-3, atol=1e-3
                )
            labels = found['labels'][index]
            assert labels[:count].tolist() == expected.labels.tolist()
            assert (labels[count:] == -1).all()
            if name == 'mask-rcnn':
                masks = found['masks'][index]
                assert masks.shape[0] == len(labels)
                check_masks(masks[:count], expected)


def check_masks(grids: Tensor, expected: Any) -> None:
    """The grids over the boxes are MMDetection's masks of the image."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    height, width = expected.masks.shape[1:]
    pasted, _ = _do_paste_mask(
        grids[:, None], expected.bboxes, height, width, skip_empty=False
    )
    same = (pasted >= 0.5) == expected.masks
    assert same.float().mean() > 0.999
    assert expected.masks.any()


def test_empty_photo_has_no_boxes(tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    model = two_stage()
    model['test_cfg']['rcnn'] = dict(model['test_cfg']['rcnn'], score_thr=0.99)
    checkpoint = write_task(tmp_path, 'mmdet', model)
    export_onnx(checkpoint, tmp_path / 'a.onnx')
    found = run(tmp_path / 'a.onnx', draw_photos(1, 96, 96))
    assert (found['scores'] == -1).all() and (found['labels'] == -1).all()
    assert (found['masks'] == 0).all() and (found['boxes'] == 0).all()


def test_metadata(tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    checkpoint = write_task(tmp_path, 'mmdet', two_stage())
    export = export_onnx(checkpoint, tmp_path / 'a.onnx')
    session = onnxruntime.InferenceSession(str(tmp_path / 'a.onnx'))
    found = session.get_modelmeta().custom_metadata_map
    assert found == export.metadata
    assert json.loads(found['classes']) == list(CLASSES)
    assert json.loads(found['mean']) == pytest.approx(MEAN.flatten().tolist())
    assert json.loads(found['std']) == pytest.approx(STD.flatten().tolist())
    assert json.loads(found['steps'])[0]['size'] == [96, 128]
    assert found['layout'] == 'NCHW' and found['channel_order'] == 'RGB'
    assert found['mmhgkd_version'] == __version__
    assert found['mask_threshold'] == '0.5'
    assert set(json.loads(found['outputs'])) == {
        output.name for output in session.get_outputs()
    }


@pytest.mark.parametrize('opset', [13, 18])
def test_opset(opset: int, tmp_path: Path) -> None:
    checkpoint = write_task(tmp_path, 'mmpretrain', classifier())
    export_onnx(checkpoint, tmp_path / 'a.onnx', opset=opset)
    (version,) = onnx.load(tmp_path / 'a.onnx').opset_import
    assert version.version == opset


def soft(model: dict[str, Any]) -> dict[str, Any]:
    test_cfg = dict(model['test_cfg'], nms=dict(type='soft_nms'))
    return dict(model, test_cfg=test_cfg)


REFUSED = [
    ('mmdet', soft(retinanet()), {}, r'`model\.test_cfg\.nms\.type`'),
    (
        'mmdet',
        dict(
            fcos(),
            type='GFL',
            bbox_head=dict(
                type='GFLHead',
                norm_cfg=None,
                num_classes=3,
                in_channels=16,
                stacked_convs=1,
                feat_channels=16,
                anchor_generator=dict(
                    type='AnchorGenerator',
                    ratios=[1.0],
                    octave_base_scale=8,
                    scales_per_octave=1,
                    strides=[4, 8, 16, 32, 64],
                ),
                loss_cls=dict(
                    type='QualityFocalLoss', use_sigmoid=True, beta=2.0
                ),
            ),
        ),
        {},
        r'`model\.bbox_head` is GFLHead',
    ),
    ('mmdet', two_stage(), dict(opset=13), r'`--opset` must be in 16 to'),
    (
        'mmseg',
        dict(
            segmentor('fcn'),
            test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(32, 32)),
        ),
        {},
        r"`model\.test_cfg\.mode` is 'slide'",
    ),
    ('mmpretrain', classifier(), dict(opset=99), '`--opset` must be in'),
    ('mmpretrain', classifier(), dict(int8='no'), 'there is no folder no'),
    (
        'mmpretrain',
        classifier(),
        dict(half=True, int8='.'),
        '`--half` or `--int8`',
    ),
]


@pytest.mark.parametrize(('scope', 'model', 'options', 'message'), REFUSED)
def test_refused(
    scope: str,
    model: dict[str, Any],
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
) -> None:
    pytest.importorskip(scope)
    checkpoint = write_task(tmp_path, scope, model)
    with pytest.raises(ConfigError, match=message):
        export_onnx(checkpoint, tmp_path / 'a.onnx', **options)
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']


def test_backbone_alone_where_it_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    checkpoint = write_task(tmp_path, 'mmdet', soft(retinanet()))
    export = export_onnx(checkpoint, tmp_path / 'a.onnx', with_head=False)
    assert export.metadata['task'] == 'embedding'


def test_weights_of_another_config(tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    checkpoint = write_task(tmp_path, 'mmdet', retinanet())
    config = dict(default_scope='mmdet', model=fcos())
    with pytest.raises(ConfigError, match='the weights do not fit'):
        export_onnx(checkpoint, tmp_path / 'a.onnx', config)
