_base_ = [
    '../_base_/models/upernet_r18_small.py',
    '../_base_/datasets/scenes_ade_96.py',
    '../_base_/segmentation_runtime.py',
    '../_base_/schedules/segmentation_small.py',
]
