# kNN and linear probe of small images, see representation_224.py.
eval_pipeline = [
    dict(type='mmhgkd.LoadImage'),
    dict(type='ResizeEdge', scale=96, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=96),
    dict(
        type='PackInputs',
        meta_keys=(
            'sample_idx',
            'img_path',
            'ori_shape',
            'img_shape',
            'split',
        ),
    ),
]

val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmhgkd.ProbeImages',
        data_root='data/scenes',
        pipeline=eval_pipeline,
    ),
)
val_cfg = dict(type='mmhgkd.RepresentationLoop')
val_evaluator = [
    dict(type='mmhgkd.KNNAccuracy', k=20, temperature=0.07),
    dict(type='mmhgkd.LinearProbeAccuracy'),
]

test_dataloader = val_dataloader
test_cfg = val_cfg
test_evaluator = val_evaluator
