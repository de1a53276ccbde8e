# kNN and linear probe of small images, without training:
#   tools/test.py configs/classification/r18_knn_folder.py CHECKPOINT \
#       --cfg-options data_root=PATH
_base_ = [
    '../_base_/evaluation/representation_96.py',
    '../_base_/classification_runtime.py',
]

data_root = 'data/scenes'

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18),
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
