# RSB A3 (arXiv 2110.00476). If a run diverges at 0.008, take 0.005.
_base_ = 'finetune_300e.py'

optim_wrapper = dict(optimizer=dict(lr=0.008))

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
        end=100,
        T_max=95,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(max_epochs=100)
