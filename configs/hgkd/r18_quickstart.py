# The run of tools/quickstart.py: a narrow student, a few minutes on two cores.
# The last stage imitates the teacher's tokens where it sees the image, and the
# mean of its positions the teacher's neighbors; there is no decoder.
_base_ = 'r18_scenes.py'

model = dict(
    mask=dict(mask_ratio=0.25),
    backbone=dict(stem_channels=32, base_channels=32),
    head=dict(
        direct_loss=dict(in_channels=256),
        similarity_loss=dict(
            type='mmhgkd.SimilarityDistributionLoss', temperature=0.2
        ),
        embedding=dict(
            type='mmhgkd.StudentEmbedding',
            source='encoder',
            projector='linear',
            in_channels=256,
            out_channels=192,
        ),
        queue=dict(type='mmhgkd.EmbeddingQueue', size=512, embed_dims=192),
    ),
)
train_dataloader = dict(dataset=dict(data_root='data/quickstart'))
val_dataloader = dict(dataset=dict(data_root='data/quickstart'))
test_dataloader = val_dataloader

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=1,
        end=10,
        T_max=9,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=10, val_interval=10)
