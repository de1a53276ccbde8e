_base_ = [
    '../_base_/models/hgkd_r18_mae-micro.py',
    '../_base_/datasets/small_96.py',
    '../_base_/evaluation/representation_96.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/default_runtime.py',
]
