# The recommended form: the last two stages imitate the teacher's tokens.
# Nothing reads a decoder or a queue, so there is none, and nothing is hidden,
# as hiding has taught less. See docs/method.md.
# The teacher: MAE ViT-B/16, pre-trained without labels. One line names it.
teacher_checkpoint = 'checkpoints/mae_pretrain_vit_base.pth'

model = dict(
    type='mmhgkd.HGKD',
    teacher=dict(
        type='mmhgkd.MIMTeacher',
        backbone=dict(type='MAEViT', arch='b', img_size=224, patch_size=16),
        checkpoint=teacher_checkpoint,
        target_norm='whiten',
        group_size=128,
        precision='auto',
    ),
    mask=dict(type='mmhgkd.RandomUnitMask', unit=32, mask_ratio=0.0),
    backbone=dict(type='mmhgkd.SparseResNet', depth=50, drop_path_rate=0.05),
    head=dict(
        type='mmhgkd.DistillationHead',
        direct_loss=dict(
            type='mmhgkd.DirectImitationLoss',
            in_channels=[1024, 2048],
            out_channels=768,
        ),
    ),
    # The teacher costs more than the student, which sees each image twice for
    # one pass of it, mirrored the second time.
    views=2,
)
