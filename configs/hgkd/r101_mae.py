# Not yet run at full scale.
_base_ = 'r50_mae.py'

model = dict(backbone=dict(depth=101))
