# From the student that configs/hgkd/r18_scenes.py has distilled; for others
# add `--cfg-options student_checkpoint=FILE`.
_base_ = 'upernet_scratch-r18_camvid.py'

student_checkpoint = 'work_dirs/r18_scenes/epoch_20.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
