# Not yet run at full scale.
_base_ = 'r50_mae.py'

model = dict(
    backbone=dict(
        _delete_=True, type='mmhgkd.SparseMobileNetV3', arch='large'
    ),
    head=dict(direct_loss=dict(in_channels=[112, 960])),
)
