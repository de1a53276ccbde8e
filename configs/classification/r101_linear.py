# Not yet run at full scale.
_base_ = 'r101_linear_supervised.py'

student_checkpoint = 'work_dirs/r101_mae/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint=student_checkpoint, prefix='backbone.')
    )
)
