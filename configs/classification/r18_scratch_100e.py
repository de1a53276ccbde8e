# Not yet run at full scale.
_base_ = 'r50_scratch_100e.py'

model = dict(backbone=dict(depth=18), head=dict(in_channels=512))
