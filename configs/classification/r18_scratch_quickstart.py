# The upper reference of tools/quickstart.py: the student of
# configs/hgkd/r18_quickstart.py on labels, judged by the same probes.
_base_ = '../hgkd/r18_quickstart.py'

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=_base_.model.backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=256,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
data_preprocessor = dict(
    _delete_=True,
    num_classes=10,
    mean=_base_.data_preprocessor.mean,
    std=_base_.data_preprocessor.std,
    to_rgb=True,
)
train_dataloader = dict(dataset=dict(with_label=True))
