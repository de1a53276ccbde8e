# The teacher of the quick start: goes on from the one of drawn scenes, on
# plain pictures of shapes, see README.md.
_base_ = 'vit-micro_scenes.py'

first_checkpoint = '{{ fileDirname }}/vit-micro_scenes.safetensors'

model = dict(
    backbone=dict(
        mask_ratio=0.75,
        init_cfg=dict(type='Pretrained', checkpoint=first_checkpoint),
    )
)
train_dataloader = dict(dataset=dict(data_root='data/shapes'))
val_dataloader = dict(dataset=dict(data_root='data/shapes'))
test_dataloader = dict(dataset=dict(data_root='data/shapes'))

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
        end=15,
        T_max=14,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=15, val_interval=15)
