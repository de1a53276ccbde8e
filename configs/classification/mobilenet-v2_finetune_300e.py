# Not yet run at full scale.
# As mobilenet-v2_scratch_300e.py, from the distilled student.
_base_ = 'mobilenet-v2_scratch_300e.py'

student_checkpoint = 'work_dirs/mobilenet-v2_mae/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
