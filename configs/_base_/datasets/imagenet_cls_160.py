# As in the recipe A3 of RSB (arXiv 2110.00476).
_base_ = 'imagenet_cls_224.py'

train_pipeline = [
    dict(type='mmhgkd.LoadImage'),
    dict(
        type='RandomResizedCrop',
        scale=160,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=6,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    sampler=dict(type='DefaultSampler'), dataset=dict(pipeline=train_pipeline)
)
