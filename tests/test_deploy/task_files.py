"""Checkpoints of fine-tuned models, as a training writes them, in no time."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

CLASSES = ('cat', 'dog', 'fish')
NORM = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
STUDENT = dict(
    type='mmpretrain.ResNet',
    depth=18,
    stem_channels=8,
    base_channels=8,
    out_indices=(0, 1, 2, 3),
)
WIDTHS = [8, 16, 32, 64]
FPN = dict(type='FPN', in_channels=WIDTHS, out_channels=16, num_outs=5)
DETECTION = dict(
    data_preprocessor=dict(
        type='DetDataPreprocessor', pad_size_divisor=32, **NORM
    ),
    backbone=STUDENT,
)
NMS = dict(type='nms', iou_threshold=0.5)
TEST = dict(
    nms_pre=60, min_bbox_size=0, score_thr=0.05, nms=NMS, max_per_img=20
)
CODER = dict(
    type='DeltaXYWHBBoxCoder',
    target_means=[0.0] * 4,
    target_stds=[0.1, 0.1, 0.2, 0.2],
)


def retinanet(**head: Any) -> dict[str, Any]:
    return dict(
        DETECTION,
        type='RetinaNet',
        neck=FPN,
        bbox_head=dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=16,
            stacked_convs=1,
            feat_channels=16,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[0.5, 1.0, 2.0],
                strides=[4, 8, 16, 32, 64],
            ),
            bbox_coder=CODER,
            **head,
        ),
        test_cfg=TEST,
    )


def fcos() -> dict[str, Any]:
    return dict(
        DETECTION,
        type='FCOS',
        neck=FPN,
        bbox_head=dict(
            type='FCOSHead',
            norm_cfg=None,
            num_classes=3,
            in_channels=16,
            stacked_convs=1,
            feat_channels=16,
            strides=[4, 8, 16, 32, 64],
        ),
        test_cfg=TEST,
    )


def two_stage(masks: bool = True, **roi_head: Any) -> dict[str, Any]:
    def extractor(size: int) -> dict[str, Any]:
        return dict(
            type='SingleRoIExtractor',
            roi_layer=dict(
                type='RoIAlign', output_size=size, sampling_ratio=0
            ),
            out_channels=16,
            featmap_strides=[4, 8, 16, 32],
            finest_scale=14,
        )

    heads: dict[str, Any] = dict(
        type='StandardRoIHead',
        bbox_roi_extractor=extractor(7),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=16,
            fc_out_channels=16,
            roi_feat_size=7,
            num_classes=3,
            bbox_coder=CODER,
            reg_class_agnostic=not masks,
        ),
    )
    if masks:
        heads.update(
            mask_roi_extractor=extractor(14),
            mask_head=dict(
                type='FCNMaskHead',
                num_convs=1,
                in_channels=16,
                conv_out_channels=8,
                num_classes=3,
            ),
        )
    return dict(
        DETECTION,
        type='MaskRCNN' if masks else 'FasterRCNN',
        neck=FPN,
        rpn_head=dict(
            type='RPNHead',
            in_channels=16,
            feat_channels=16,
            anchor_generator=dict(
                type='AnchorGenerator',
                scales=[4],
                ratios=[0.5, 1.0, 2.0],
                strides=[4, 8, 16, 32, 64],
            ),
            bbox_coder=dict(CODER, target_stds=[1.0] * 4),
        ),
        roi_head={**heads, **roi_head},
        train_cfg=None,
        test_cfg=dict(
            rpn=dict(nms_pre=80, max_per_img=40, nms=NMS, min_bbox_size=0),
            rcnn=dict(
                score_thr=0.05, nms=NMS, max_per_img=20, mask_thr_binary=0.5
            ),
        ),
    )


def segmentor(kind: str, **test_cfg: Any) -> dict[str, Any]:
    heads = dict(
        upernet=dict(
            type='UPerHead',
            in_channels=WIDTHS,
            in_index=[0, 1, 2, 3],
            pool_scales=(1, 2, 3, 6),
            channels=16,
        ),
        fcn=dict(type='FCNHead', in_channels=64, in_index=3, channels=16),
        unet=dict(
            type='mmhgkd.UNetHead',
            in_channels=WIDTHS,
            decoder=dict(width=16),
        ),
    )
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', **NORM),
        backbone=STUDENT,
        decode_head=dict(
            heads[kind], num_classes=3, norm_cfg=dict(type='SyncBN')
        )
        if kind != 'unet'
        else dict(heads[kind], num_classes=3),
        train_cfg=dict(),
        test_cfg=dict(mode='whole', **test_cfg),
    )


def classifier() -> dict[str, Any]:
    return dict(
        type='ImageClassifier',
        backbone=dict(
            type='mmhgkd.SparseResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=3,
            in_channels=64,
            loss=dict(type='CrossEntropyLoss'),
        ),
    )


PIPELINES = {
    'mmdet': [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(128, 96), keep_ratio=True),
        dict(type='PackDetInputs'),
    ],
    'mmseg': [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 96)),
        dict(type='PackSegInputs'),
    ],
    'mmpretrain': [
        dict(type='mmhgkd.LoadImage'),
        dict(type='ResizeEdge', scale=72, edge='short', backend='pillow'),
        dict(type='CenterCrop', crop_size=64),
        dict(type='PackInputs'),
    ],
}


def write_task(
    folder: Path,
    scope: str,
    model: dict[str, Any],
    config: dict[str, Any] | None = None,
) -> str:
    """Write the checkpoint of a model with random, lively weights."""
    if scope == 'mmseg':
        import mmhgkd.transfer.segmentation  # noqa: F401
    settings: dict[str, Any] = dict(default_scope=scope, model=model)
    if scope == 'mmpretrain':
        settings['data_preprocessor'] = dict(
            mean=NORM['mean'], std=NORM['std'], to_rgb=True
        )
    dataset = dict(type='BaseDataset', pipeline=PIPELINES[scope])
    settings['test_dataloader'] = dict(dataset=dataset)
    whole = Config({**settings, **(config or {})})
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        built = MODELS.build(Config(dict(model=model)).model)
        built.init_weights()
    state = built.state_dict()
    generator = torch.Generator().manual_seed(0)
    for key, value in state.items():
        if not value.is_floating_point():
            continue
        if key.endswith(('mean', 'bias')):
            value.normal_(0, 0.1, generator=generator)
        elif value.ndim < 2:
            value.uniform_(0.5, 1.5, generator=generator)
        elif any(word in key for word in ('_cls', '_reg', '_logits')):
            # Else all scores are those of the prior.
            value.normal_(0, 0.1, generator=generator)
    path = folder / 'epoch_1.pth'
    torch.save(
        dict(
            state_dict=state,
            meta=dict(
                cfg=whole.pretty_text,
                epoch=1,
                dataset_meta=dict(classes=CLASSES),
            ),
        ),
        path,
    )
    return str(path)
