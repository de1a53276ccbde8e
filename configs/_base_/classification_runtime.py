_base_ = 'default_runtime.py'

default_hooks = dict(
    visualization=dict(type='VisualizationHook', enable=False)
)
