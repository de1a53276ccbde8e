# The form of the paper (arXiv 2309.09571): a UNet-like decoder, and L_feat and
# L_sim at equal weights.
# The teacher: MAE ViT-B/16, pre-trained without labels. One line names it.
teacher_checkpoint = 'checkpoints/mae_pretrain_vit_base.pth'

model = dict(
    type='mmhgkd.HGKD',
    teacher=dict(
        type='mmhgkd.MIMTeacher',
        backbone=dict(type='MAEViT', arch='b', img_size=224, patch_size=16),
        checkpoint=teacher_checkpoint,
    ),
    mask=dict(type='mmhgkd.RandomUnitMask', unit=32, mask_ratio=0.6),
    backbone=dict(type='mmhgkd.SparseResNet', depth=50, drop_path_rate=0.05),
    neck=dict(
        type='mmhgkd.UNetNeck',
        in_channels=(256, 512, 1024, 2048),
        width=768,
        out_channels=768,
        out_stride=16,
    ),
    head=dict(
        type='mmhgkd.DistillationHead',
        feature_loss=dict(type='mmhgkd.FeatureImitationLoss'),
        similarity_loss=dict(
            type='mmhgkd.SimilarityDistributionLoss', temperature=0.2
        ),
        embedding=dict(
            type='mmhgkd.StudentEmbedding',
            source='decoder',
            in_channels=768,
            out_channels=768,
        ),
        queue=dict(type='mmhgkd.EmbeddingQueue', size=65536, embed_dims=768),
    ),
)
