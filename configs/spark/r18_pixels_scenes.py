# SparK's pixel reconstruction on the same student as
# configs/hgkd/r18_scenes_unet.py.
_base_ = '../hgkd/r18_scenes_unet.py'

model = dict(
    teacher=dict(
        _delete_=True, type='mmhgkd.PixelTeacher', patch_size=16, norm_unit=32
    ),
    neck=dict(out_channels=768),
    head=dict(
        _delete_=True,
        type='mmhgkd.DistillationHead',
        feature_loss=dict(type='mmhgkd.FeatureImitationLoss', region='masked'),
    ),
)
