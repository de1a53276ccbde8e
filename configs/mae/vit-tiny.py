# Not yet run at full scale.
_base_ = 'vit-base.py'

model = dict(
    backbone=dict(arch='deit-tiny'),
    neck=dict(embed_dim=192, decoder_embed_dim=256, decoder_num_heads=8),
)
