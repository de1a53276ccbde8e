# Not yet run at full scale.
_base_ = 'r50_mae.py'

model = dict(
    backbone=dict(depth=34), neck=dict(in_channels=(64, 128, 256, 512))
)
