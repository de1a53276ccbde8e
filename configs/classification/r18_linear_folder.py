# A linear classifier on the frozen features of the student.
_base_ = 'r18_finetune_folder.py'

model = dict(
    backbone=dict(frozen_stages=4),
    neck=[
        dict(type='GlobalAveragePooling'),
        dict(type='ClsBatchNormNeck', input_features=512, affine=False),
    ],
)
