# Not yet run at full scale.
_base_ = 'r50_knn.py'

model = dict(backbone=dict(depth=18))
