# Not yet run at full scale.
_base_ = 'r50_mae.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhgkd.SparseConvNeXt',
        arch='tiny',
        drop_path_rate=0.05,
    ),
    head=dict(direct_loss=dict(in_channels=[384, 768])),
)
