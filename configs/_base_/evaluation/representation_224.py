# kNN and linear probe on embeddings of the encoder, during training. Labels
# are read by the evaluation only.
eval_pipeline = [
    dict(type='mmhgkd.LoadImage'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
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
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmhgkd.ProbeImages',
        data_root='data/imagenet',
        max_bank_images=100000,
        pipeline=eval_pipeline,
    ),
)
val_cfg = dict(type='mmhgkd.RepresentationLoop')
val_evaluator = [dict(type='mmhgkd.KNNAccuracy', k=20, temperature=0.07)]

test_dataloader = val_dataloader
test_cfg = val_cfg
test_evaluator = [*val_evaluator, dict(type='mmhgkd.LinearProbeAccuracy')]
