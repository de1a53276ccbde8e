# Not yet run at full scale.
_base_ = 'r50_mae.py'

model = dict(
    backbone=dict(_delete_=True, type='mmhgkd.SparseMobileNetV2'),
    head=dict(direct_loss=dict(in_channels=[96, 1280])),
)
