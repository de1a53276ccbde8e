# The baseline of tools/quickstart.py: the student of
# configs/hgkd/r18_quickstart.py on pixels.
_base_ = '../hgkd/r18_quickstart.py'

model = dict(
    teacher=dict(
        _delete_=True, type='mmhgkd.PixelTeacher', patch_size=16, norm_unit=32
    ),
    mask=dict(mask_ratio=0.6),
    neck=dict(
        type='mmhgkd.UNetNeck',
        in_channels=(32, 64, 128, 256),
        width=128,
        out_channels=768,
        out_stride=16,
    ),
    head=dict(
        _delete_=True,
        type='mmhgkd.DistillationHead',
        feature_loss=dict(type='mmhgkd.FeatureImitationLoss', region='masked'),
    ),
)
