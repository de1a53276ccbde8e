# Not yet run at full scale.
_base_ = 'r50_scratch_300e.py'

model = dict(
    backbone=dict(_delete_=True, type='EfficientNet', arch='b0'),
    head=dict(in_channels=1280),
)
