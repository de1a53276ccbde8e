_base_ = 'default_runtime.py'

default_hooks = dict(
    visualization=dict(type='VisualizationHook', enable=False)
)
custom_hooks = [*_base_.custom_hooks, dict(type='mmhgkd.PretrainedCheckHook')]
