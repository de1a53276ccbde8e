# Not yet run at full scale.
# A linear classifier on the frozen features of supervised weights, to compare
# with r50_linear.py.
_base_ = [
    '../_base_/models/classifier_r50.py',
    '../_base_/datasets/imagenet_cls_224.py',
    '../_base_/schedules/linear_90e.py',
    '../_base_/classification_runtime.py',
]

student_checkpoint = 'torchvision://resnet50'

model = dict(
    backbone=dict(
        frozen_stages=4,
        init_cfg=dict(type='Pretrained', checkpoint=student_checkpoint),
    ),
    neck=[
        dict(type='GlobalAveragePooling'),
        dict(type='ClsBatchNormNeck', input_features=2048, affine=False),
    ],
    head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss')),
    train_cfg=None,
)

train_pipeline = [
    dict(type='mmhgkd.LoadImage'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=512,
    sampler=dict(type='DefaultSampler'),
    dataset=dict(pipeline=train_pipeline),
)
