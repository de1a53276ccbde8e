# Not yet run at full scale.
_base_ = 'r50_mae.py'

teacher_checkpoint = 'checkpoints/mae_pretrain_vit_large.pth'

model = dict(
    teacher=dict(backbone=dict(arch='l'), checkpoint=teacher_checkpoint),
    neck=dict(out_channels=1024),
    head=dict(
        embedding=dict(in_channels=1024, out_channels=1024),
        queue=dict(embed_dims=1024),
    ),
)
