# Not yet run at full scale.
# The same run with parameters, gradients and optimizer split over the GPUs.
_base_ = 'r50_mae.py'

runner_type = 'mmhgkd.runner.ShardedRunner'
