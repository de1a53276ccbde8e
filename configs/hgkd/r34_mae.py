# Not yet run at full scale.
_base_ = 'r50_mae.py'

model = dict(
    backbone=dict(depth=34),
    head=dict(direct_loss=dict(in_channels=[256, 512])),
)
