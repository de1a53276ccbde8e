# Not yet run at full scale.
# As r101_scratch_1pct.py, from the distilled student.
_base_ = 'r101_scratch_1pct.py'

student_checkpoint = 'work_dirs/r101_mae/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
