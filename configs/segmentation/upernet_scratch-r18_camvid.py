_base_ = [
    '../_base_/models/upernet_r18_small.py',
    '../_base_/datasets/camvid_ade.py',
    '../_base_/segmentation_runtime.py',
    '../_base_/schedules/segmentation_small.py',
]

model = dict(data_preprocessor=dict(size=(128, 128)))
