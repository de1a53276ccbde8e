# Not yet run at full scale.
# SparK's pixel reconstruction on the same student as
# configs/hgkd/r50_mae_paper.py:
# the target is the pixels of masked units, normalized unit by unit.
_base_ = '../hgkd/r50_mae_paper.py'

model = dict(
    teacher=dict(
        _delete_=True, type='mmhgkd.PixelTeacher', patch_size=16, norm_unit=32
    ),
    head=dict(
        _delete_=True,
        type='mmhgkd.DistillationHead',
        feature_loss=dict(type='mmhgkd.FeatureImitationLoss', region='masked'),
    ),
)
