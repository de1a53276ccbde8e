# Not yet run at full scale.
# kNN and linear probe on frozen features, without training:
#   tools/test.py configs/classification/r50_knn.py CHECKPOINT
_base_ = [
    '../_base_/evaluation/representation_224.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=50),
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)
