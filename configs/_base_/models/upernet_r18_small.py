# A small UPerNet for laptops.
_base_ = 'upernet_r50.py'

norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(depth=18, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[64, 128, 256, 512],
        channels=64,
        num_classes=11,
        norm_cfg=norm_cfg,
    ),
    auxiliary_head=None,
)
