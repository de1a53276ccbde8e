# A teacher for 96 px images that a laptop trains: 2.4 M parameters.
model = dict(
    type='MAE',
    backbone=dict(
        type='MAEViT',
        arch=dict(
            embed_dims=192, num_layers=5, num_heads=3, feedforward_channels=768
        ),
        img_size=96,
        patch_size=16,
        mask_ratio=0.6,
    ),
    neck=dict(
        type='MAEPretrainDecoder',
        num_patches=36,
        patch_size=16,
        embed_dim=192,
        decoder_embed_dim=96,
        decoder_depth=2,
        decoder_num_heads=3,
        mlp_ratio=4.0,
    ),
    head=dict(
        type='MAEPretrainHead',
        norm_pix=True,
        patch_size=16,
        loss=dict(type='PixelReconstructionLoss', criterion='L2'),
    ),
)
