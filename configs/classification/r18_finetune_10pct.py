# Not yet run at full scale.
# As r18_scratch_10pct.py, from the distilled student.
_base_ = 'r18_scratch_10pct.py'

student_checkpoint = 'work_dirs/r18_mae/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
