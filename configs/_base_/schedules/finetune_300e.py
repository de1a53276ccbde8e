# RSB A2 (arXiv 2110.00476). SparK fine-tunes at 0.016, where users report
# that ResNet-50 diverges; if it does so here as well, go down from 0.005.
optim_wrapper = dict(
    type='mmhgkd.AutocastOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(
        type='mmhgkd.TimmLamb', lr=0.005, weight_decay=0.02, foreach=True
    ),
    paramwise_cfg=dict(
        bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0
    ),
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=5,
        end=300,
        T_max=295,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300)

# The learning rate above is for this batch size over all GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=2048)
