# Not yet run at full scale.
_base_ = 'r50_scratch_300e.py'

model = dict(
    backbone=dict(_delete_=True, type='MobileNetV3', arch='large'),
    head=dict(
        type='StackedLinearClsHead',
        in_channels=960,
        mid_channels=[1280],
        dropout_rate=0.2,
        act_cfg=dict(type='HSwish'),
    ),
)
