# Not yet run at full scale.
_base_ = [
    '../_base_/models/upernet_r50.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/segmentation_runtime.py',
    '../_base_/schedules/segmentation_80k.py',
]

student_checkpoint = 'torchvision://resnet50'

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint=student_checkpoint)
    )
)
