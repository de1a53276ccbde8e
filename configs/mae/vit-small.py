# Not yet run at full scale.
_base_ = 'vit-base.py'

model = dict(
    backbone=dict(arch='deit-small'),
    neck=dict(embed_dim=384, decoder_embed_dim=384, decoder_num_heads=12),
)
