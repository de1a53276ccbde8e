_base_ = 'lamb_300e.py'

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=40,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=40,
        end=800,
        T_max=760,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingWeightDecay',
        eta_min=0.2,
        by_epoch=True,
        begin=0,
        end=800,
        T_max=800,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(max_epochs=800)
