# Binary cross-entropy and mixing of images as in RSB (arXiv 2110.00476).
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=50,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
    train_cfg=dict(
        augments=[
            dict(type='Mixup', alpha=0.1),
            dict(type='CutMix', alpha=1.0),
        ]
    ),
)
