# From the CSPNeXt of configs/hgkd/cspnext-tiny_folder.py; boxes only.
_base_ = [
    '../_base_/models/detection_rtmdet-tiny.py',
    '../_base_/datasets/coco_scenes_boxes.py',
    '../_base_/schedules/detection_small.py',
    '../_base_/detection_runtime.py',
]

student_checkpoint = 'work_dirs/cspnext-tiny_folder/epoch_20.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        ),
    ),
    bbox_head=dict(num_classes=10),
)

# All levels share the convolutions of the head.
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))
