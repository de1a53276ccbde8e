# The decoder of the paper on scenes: a UNet, L_feat and a little L_sim.
_base_ = [
    '../_base_/models/hgkd_r18_mae-micro_unet.py',
    '../_base_/datasets/small_96.py',
    '../_base_/evaluation/representation_96.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/default_runtime.py',
]
