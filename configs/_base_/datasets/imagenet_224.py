# Any folder of images works as `data_root`, labelled or not, flat or nested.
# Where it has a `train` sub-folder, as ImageNet has, only that is used.
data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    non_blocking=True,
)

train_pipeline = [
    dict(type='mmhgkd.LoadImage'),
    dict(
        type='mmhgkd.RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.67, 1.0),
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=512,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmhgkd.ImageFolder',
        data_root='data/imagenet',
        split='train',
        pipeline=train_pipeline,
    ),
)
