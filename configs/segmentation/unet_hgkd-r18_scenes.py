# Backbone and decoder from the distillation of
# configs/hgkd/r18_scenes_unet.py.
_base_ = 'unet_scratch-r18_scenes.py'

student_checkpoint = 'work_dirs/r18_scenes_unet/epoch_20.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    ),
    decode_head=dict(
        decoder=dict(
            init_cfg=dict(
                type='Pretrained',
                checkpoint=student_checkpoint,
                prefix='neck.',
            )
        )
    ),
)
