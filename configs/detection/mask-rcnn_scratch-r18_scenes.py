# The baseline of mask-rcnn_hgkd-r18_scenes.py: no pre-training.
_base_ = 'mask-rcnn_hgkd-r18_scenes.py'

model = dict(backbone=dict(init_cfg=None))
