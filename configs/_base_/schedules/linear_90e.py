# The linear probe of MAE (arXiv 2111.06377), table 10, at a batch of 4096.
optim_wrapper = dict(
    type='mmhgkd.AutocastOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(
        type='LARS', lr=0.1 * 4096 / 256, momentum=0.9, weight_decay=0.0
    ),
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=10,
        end=90,
        T_max=80,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90)

# The learning rate above is for this batch size over all GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=4096)
