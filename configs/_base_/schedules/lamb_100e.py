_base_ = 'lamb_300e.py'

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
        by_epoch=True,
        begin=5,
        end=100,
        T_max=95,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingWeightDecay',
        eta_min=0.2,
        by_epoch=True,
        begin=0,
        end=100,
        T_max=100,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(max_epochs=100)
