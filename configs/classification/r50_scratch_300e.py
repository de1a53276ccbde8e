# Not yet run at full scale.
_base_ = [
    '../_base_/models/classifier_r50.py',
    '../_base_/datasets/imagenet_cls_224.py',
    '../_base_/schedules/finetune_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(backbone=dict(drop_path_rate=0.05))
