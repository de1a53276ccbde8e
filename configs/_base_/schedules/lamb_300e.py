optim_wrapper = dict(
    type='mmhgkd.AutocastOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(
        type='mmhgkd.TimmLamb',
        lr=2e-4 * 4096 / 256,
        betas=(0.9, 0.95),
        weight_decay=0.04,
        # The norm below is the only limit.
        max_grad_norm=None,
        foreach=True,
    ),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        bias_decay_mult=0.0,
        norm_decay_mult=0.0,
        flat_decay_mult=0.0,
    ),
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=15,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=15,
        end=300,
        T_max=285,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingWeightDecay',
        eta_min=0.2,
        by_epoch=True,
        begin=0,
        end=300,
        T_max=300,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300)

# The learning rate above is for this batch size over all GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=4096)
