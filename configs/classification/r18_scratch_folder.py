# Small labelled images, one folder a class:
#   tools/train.py configs/classification/r18_scratch_folder.py \
#       --cfg-options data_root=PATH model.head.num_classes=10
_base_ = [
    '../_base_/models/classifier_r18_small.py',
    '../_base_/datasets/folder_cls_96.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/classification_runtime.py',
]
