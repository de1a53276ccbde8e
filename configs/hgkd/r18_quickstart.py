# The run of tools/quickstart.py: a narrow student, a few minutes on two cores.
# All is visible, and the last two stages imitate the teacher's tokens: see
# hgkd_r18_mae-micro.py.
_base_ = 'r18_scenes.py'

model = dict(
    backbone=dict(stem_channels=32, base_channels=32),
    head=dict(direct_loss=dict(in_channels=[128, 256])),
)
train_dataloader = dict(
    batch_size=32, dataset=dict(data_root='data/quickstart')
)
val_dataloader = dict(dataset=dict(data_root='data/quickstart'))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=1,
        end=5,
        T_max=4,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=5, val_interval=5)
