# Not yet run at full scale.
# One GPU: 256 images, which make 512 views, and the learning rate of these.
_base_ = 'r18_mae.py'

train_dataloader = dict(batch_size=256)
auto_scale_lr = dict(enable=True)
