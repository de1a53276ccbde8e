# Small labelled images for laptops, in data_root/{train,val}/CLASS.
_base_ = 'imagenet_cls_224.py'

data_root = 'data/scenes'

data_preprocessor = dict(num_classes=10)

train_pipeline = [
    dict(type='mmhgkd.LoadImage'),
    dict(
        type='RandomResizedCrop',
        scale=96,
        crop_ratio_range=(0.35, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='mmhgkd.LoadImage'),
    dict(type='ResizeEdge', scale=96, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=96),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    drop_last=False,
    sampler=dict(type='DefaultSampler'),
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
