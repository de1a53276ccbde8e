# Not yet run at full scale.
_base_ = 'r50_mae.py'

model = dict(
    backbone=dict(_delete_=True, type='mmhgkd.SparseEfficientNet', arch='b0'),
    head=dict(direct_loss=dict(in_channels=[112, 1280])),
)
