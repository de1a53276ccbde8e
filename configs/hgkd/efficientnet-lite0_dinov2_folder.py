# EfficientNet-Lite0, from random weights. To distil given weights further:
#   model.backbone.init_cfg.type=Pretrained
#   model.backbone.init_cfg.prefix=backbone.
#   model.backbone.init_cfg.checkpoint=PATH
_base_ = 'r18_dinov2_folder.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhgkd.SparseNetwork',
        network=dict(
            type='mmpretrain.TIMMBackbone', model_name='tf_efficientnet_lite0'
        ),
    ),
    head=dict(direct_loss=dict(in_channels=1280)),
    views=1,
)
train_dataloader = dict(batch_size=64)
