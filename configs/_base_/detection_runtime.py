_base_ = 'mmdet::_base_/default_runtime.py'

# Makes MMDetection's own tools find the operators, too.
custom_imports = dict(imports=['mmhgkd'], allow_failed_imports=False)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
custom_hooks = [
    dict(type='mmhgkd.InvalidLossHook', interval=50),
    dict(type='mmhgkd.PretrainedCheckHook'),
]
randomness = dict(seed=0, diff_rank_seed=True)
