# From the student that configs/hgkd/r50_mae.py has distilled.
_base_ = [
    '../_base_/models/detection_mask-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/detection_runtime.py',
]

student_checkpoint = 'work_dirs/r50_mae/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
