# Not yet run at full scale.
# Backbone and decoder from the distillation of configs/hgkd/r50_mae_paper.py.
_base_ = 'unet_supervised-r50_80k_ade20k.py'

student_checkpoint = 'work_dirs/r50_mae_paper/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint=student_checkpoint, prefix='backbone.')
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
