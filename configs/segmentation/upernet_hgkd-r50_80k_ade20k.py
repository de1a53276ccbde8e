# Not yet run at full scale.
# From the student that configs/hgkd/r50_mae.py has distilled.
_base_ = 'upernet_supervised-r50_80k_ade20k.py'

student_checkpoint = 'work_dirs/r50_mae/epoch_300.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint=student_checkpoint, prefix='backbone.')
    )
)
