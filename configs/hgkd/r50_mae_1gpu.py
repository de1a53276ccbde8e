# Not yet run at full scale.
# One GPU: a batch of 256, and the learning rate that goes with it.
_base_ = 'r50_mae.py'

train_dataloader = dict(batch_size=256)
auto_scale_lr = dict(enable=True)
