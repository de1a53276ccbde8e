# Not yet run at full scale.
_base_ = [
    '../_base_/models/classifier_r50.py',
    '../_base_/datasets/imagenet_cls_160.py',
    '../_base_/schedules/finetune_100e.py',
    '../_base_/classification_runtime.py',
]
