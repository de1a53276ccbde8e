# Not yet run at full scale.
# The student sees each image twice, mirrored the second time and each time
# with a mask of its own, for one pass of the teacher: 100 epochs are 200
# passes. A step has half as many images, and so as many views as before.
_base_ = 'r50_mae_100e.py'

model = dict(teacher=dict(input='full'), views=2)
train_dataloader = dict(batch_size=256)
auto_scale_lr = dict(base_batch_size=2048)
