# The same run with FSDP, for `tools/dist_train.sh`; two CPU processes will do.
_base_ = 'r18_scenes.py'

runner_type = 'mmhgkd.runner.ShardedRunner'
