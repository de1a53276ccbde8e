# The baseline of rtmdet-tiny_hgkd-cspnext-tiny_scenes.py: no pre-training.
_base_ = 'rtmdet-tiny_hgkd-cspnext-tiny_scenes.py'

model = dict(backbone=dict(init_cfg=None))
