# Not yet run at full scale.
# One GPU: a batch of 512, and the learning rate that goes with it.
_base_ = 'r18_mae.py'

train_dataloader = dict(batch_size=512)
auto_scale_lr = dict(enable=True)
