# Not yet run at full scale.
_base_ = [
    '../_base_/models/hgkd_r50_mae-base.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/lamb_300e.py',
    '../_base_/default_runtime.py',
]

# Each image makes two views: a step has 4096 of these.
train_dataloader = dict(batch_size=256)
auto_scale_lr = dict(base_batch_size=2048)
