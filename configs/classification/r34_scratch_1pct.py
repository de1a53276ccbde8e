# Not yet run at full scale.
_base_ = 'r50_scratch_1pct.py'

model = dict(backbone=dict(depth=34), head=dict(in_channels=512))
