# Not yet run at full scale.
# The paper's text word for word; r50_mae.py is the recommended form.
_base_ = [
    '../_base_/models/hgkd_r50_mae-base_paper.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/lamb_300e.py',
    '../_base_/default_runtime.py',
]
