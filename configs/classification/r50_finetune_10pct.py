# Not yet run at full scale.
# As r50_scratch_10pct.py, from the distilled student.
_base_ = 'r50_scratch_10pct.py'

student_checkpoint = 'work_dirs/r50_mae/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
