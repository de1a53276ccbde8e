# Not yet run at full scale.
_base_ = 'r50_mae.py'

teacher_checkpoint = 'checkpoints/mae_pretrain_vit_large.pth'

model = dict(
    teacher=dict(backbone=dict(arch='l'), checkpoint=teacher_checkpoint),
    head=dict(direct_loss=dict(out_channels=1024)),
)
