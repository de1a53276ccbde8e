# Not yet run at full scale.
# One GPU: 128 images, which make 256 views, and the learning rate of these.
_base_ = 'r50_mae.py'

train_dataloader = dict(batch_size=128)
auto_scale_lr = dict(enable=True)
