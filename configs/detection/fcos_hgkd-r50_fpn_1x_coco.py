# From the student that configs/hgkd/r50_mae.py has distilled.
_base_ = [
    '../_base_/models/detection_fcos_r50_fpn.py',
    '../_base_/datasets/coco_detection.py',
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

optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=35, norm_type=2),
)
