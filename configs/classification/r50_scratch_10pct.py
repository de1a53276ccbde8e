# Not yet run at full scale.
# A tenth of the labels, the same share of every class.
_base_ = 'r50_scratch_100e.py'

train_dataloader = dict(dataset=dict(label_fraction=0.1))
