# A student for 96 px images on a laptop, in the recommended form, see
# hgkd_r50_mae-base.py.
teacher_checkpoint = '{{ fileDirname }}/../../mae/vit-micro_scenes.safetensors'

model = dict(
    type='mmhgkd.HGKD',
    teacher=dict(
        type='mmhgkd.MIMTeacher',
        backbone=dict(
            type='MAEViT',
            arch=dict(
                embed_dims=192,
                num_layers=5,
                num_heads=3,
                feedforward_channels=768,
            ),
            img_size=96,
            patch_size=16,
        ),
        checkpoint=teacher_checkpoint,
        target_norm='whiten',
        precision='auto',
    ),
    mask=dict(type='mmhgkd.RandomUnitMask', unit=32, mask_ratio=0.0),
    backbone=dict(type='mmhgkd.SparseResNet', depth=18),
    head=dict(
        type='mmhgkd.DistillationHead',
        direct_loss=dict(
            type='mmhgkd.DirectImitationLoss',
            in_channels=[256, 512],
            out_channels=192,
        ),
    ),
)
