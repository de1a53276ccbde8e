_base_ = 'default_runtime.py'

default_scope = 'mmseg'

default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=8000),
    visualization=dict(type='SegVisualizationHook'),
)
custom_hooks = [*_base_.custom_hooks, dict(type='mmhgkd.PretrainedCheckHook')]
log_processor = dict(by_epoch=False)
visualizer = dict(type='SegLocalVisualizer')
