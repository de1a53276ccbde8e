# From the narrow student of tools/quickstart.py; minutes on two cores.
_base_ = [
    '../_base_/models/detection_mask-rcnn_r18_fpn.py',
    '../_base_/datasets/coco_scenes.py',
    '../_base_/schedules/detection_small.py',
    '../_base_/detection_runtime.py',
]

student_checkpoint = 'work_dirs/quickstart/h-gkd/epoch_5.pth'

model = dict(
    backbone=dict(
        stem_channels=32,
        base_channels=32,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        ),
    ),
    neck=dict(in_channels=[32, 64, 128, 256]),
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_head=dict(num_classes=10), mask_head=dict(num_classes=10)
    ),
)
