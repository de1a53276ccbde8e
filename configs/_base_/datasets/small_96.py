# Small images for laptops; any folder of images works as `data_root`.
_base_ = 'imagenet_224.py'

train_pipeline = [
    dict(type='mmhgkd.LoadImage'),
    dict(
        type='mmhgkd.RandomResizedCrop',
        scale=96,
        crop_ratio_range=(0.67, 1.0),
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    drop_last=False,
    dataset=dict(data_root='data/scenes', pipeline=train_pipeline),
)
