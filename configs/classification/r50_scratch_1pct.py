# Not yet run at full scale.
# A hundredth of the labels, the same share of every class. The batches are
# small and the learning rate goes with them, so that there are enough steps.
_base_ = 'r50_scratch_100e.py'

train_dataloader = dict(batch_size=32, dataset=dict(label_fraction=0.01))
auto_scale_lr = dict(enable=True)
