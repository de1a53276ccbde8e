_base_ = [
    '../_base_/models/mae_vit-micro-p8.py', '../_base_/datasets/small_96.py',
    '../_base_/evaluation/representation_96.py',
    '../_base_/schedules/adamw_small.py', '../_base_/default_runtime.py'
]
