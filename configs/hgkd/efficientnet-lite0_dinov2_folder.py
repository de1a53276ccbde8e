# EfficientNet-Lite0, from random weights; `load_from=PATH` distils the weights
# of a student further, at a tenth of the learning rate.
_base_ = 'r18_dinov2_folder.py'

# Its own normalization, so that published weights fit.
data_preprocessor = dict(mean=[127.0] * 3, std=[128.0] * 3)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhgkd.SparseNetwork',
        network=dict(
            type='mmpretrain.TIMMBackbone', model_name='tf_efficientnet_lite0'
        ),
    ),
    # It returns its last map alone.
    head=dict(direct_loss=dict(in_channels=1280)),
    views=1,
)
train_dataloader = dict(batch_size=64)
