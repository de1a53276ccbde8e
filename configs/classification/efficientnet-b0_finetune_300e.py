# Not yet run at full scale.
# As efficientnet-b0_scratch_300e.py, from the distilled student.
_base_ = 'efficientnet-b0_scratch_300e.py'

student_checkpoint = 'work_dirs/efficientnet-b0_mae/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
