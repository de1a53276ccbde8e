# A batch of 256 in four parts, for machines with little memory. The losses
# see the parts one by one: the statistics of the norms are those of 64 images.
_base_ = 'r18_scenes.py'

optim_wrapper = dict(accumulative_counts=4)
