_base_ = [
    '../_base_/models/mae_vit-micro-p16.py',
    '../_base_/datasets/small_96.py',
    '../_base_/evaluation/representation_96.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/default_runtime.py',
]

# Those of students are flat, and have no decay anyway.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(mask_token=dict(decay_mult=0.0)))
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=5,
        end=60,
        T_max=55,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=60, val_interval=20)
