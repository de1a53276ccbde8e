# Not yet run at full scale.
_base_ = 'r50_linear_supervised.py'

student_checkpoint = 'torchvision://resnet18'

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint=student_checkpoint)),
    neck=[
        dict(type='GlobalAveragePooling'),
        dict(type='ClsBatchNormNeck', input_features=512, affine=False),
    ],
    head=dict(in_channels=512),
)
