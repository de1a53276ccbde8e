# Not yet run at full scale.
# The same run with a kNN evaluation every 10 epochs; needs class folders.
_base_ = ['r50_mae.py', '../_base_/evaluation/representation_224.py']

train_cfg = dict(val_interval=10)
