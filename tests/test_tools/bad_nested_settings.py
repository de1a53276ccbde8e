"""Settings deep in a config, or that other parts of MMEngine read.

A row holds options, and a part of the message.
"""

CHECKPOINT = 'default_hooks.checkpoint'
OPTIMIZER = 'optim_wrapper.optimizer'
PARAMS = 'optim_wrapper.paramwise_cfg'
PIPELINE = 'train_dataloader.dataset.pipeline'
NESTED = [
    # the model
    (
        'model.backbone.init_cfg.type=Nothing',
        'cannot build `model.init_cfg` of the config: ',
    ),
    ('model.init_cfg=abc', '`model.init_cfg` must be a dict such as dict('),
    (
        'model.backbone.base_channels=0',
        '`model.backbone.base_channels` must be a whole number of at least 1',
    ),
    (
        'model.backbone.frozen_stages=abc',
        '`model.backbone.frozen_stages` must be a whole number of at least',
    ),
    (
        'model.backbone.out_indices=abc',
        "its option `out_indices` is 'abc', where the default is (0, 1, 2, 3",
    ),
    (
        'model.backbone.strides=abc',
        "its option `strides` is 'abc', where the default is (1, 2, 2, 2)",
    ),
    (
        'model.backbone.num_stages=9',
        '`assert num_stages >= 1 and num_stages <= 4` does not hold',
    ),
    (
        'model.data_preprocessor.std=[0,0,0]',
        '`data_preprocessor.std` must be positive numbers, got [0, 0, 0]',
    ),
    ('model.data_preprocessor.type=Foo', 'there is no model `Foo`'),
    ('model.mask.type=RandomUnitMsk', 'mean `mmhgkd.RandomUnitMask`?'),
    ('model.head.queue.type=Foo', 'there is no model `Foo`'),
    (
        'model.head.similarity_loss.temperature=abc',
        "`temperature` must be positive or None, got 'abc'",
    ),
    (
        'model.head.similarity_loss.temperature=nan',
        '`temperature` must be positive or None, got nan',
    ),
    (
        'model.head.similarity_loss.center=median',
        "`center` must be one of ('none', 'mean', 'whiten'), got 'median'",
    ),
    (
        'model.teacher.layer=abc',
        "`teacher.layer` is 'abc', but the network has 5 blocks",
    ),
    (
        'model.teacher.checkpoint=',
        "`model.teacher.checkpoint` must be a file, got ''",
    ),
    (
        'activation_checkpointing=backbon',
        'no part `backbon` of `activation_checkpointing`; did you mean `back',
    ),
    (
        'efficient_conv_bn_eval=foo',
        'the model has no part `foo` of `efficient_conv_bn_eval`; leave it',
    ),
    ('sync_bn=foo', "`sync_bn` must be one of (None, False, 'torch', 'mmcv')"),
    # the data
    (
        f'{PIPELINE}.0.color_type=foo',
        "`color_type` of LoadImage must be one of ('color', 'grayscale',",
    ),
    (
        f'{PIPELINE}.0.imdecode_backend=foo',
        "`imdecode_backend` of LoadImage must be one of ('cv2', 'turbojpeg'",
    ),
    (
        f'{PIPELINE}.1.interpolation=foo',
        'cannot build `mmhgkd.RandomResizedCrop` of the config: ',
    ),
    (
        f'{PIPELINE}.3.meta_keys=5',
        '`train_dataloader.dataset.pipeline` fails at the first sample:',
    ),
    (
        'train_dataloader.dataset.split=foo',
        "`split` must be one of train, val, test or '', got 'foo'",
    ),
    (
        'train_dataloader.sampler.seed=abc',
        '`train_dataloader.sampler.seed` must be a whole number of at least',
    ),
    (
        'train_dataloader.sampler.round_up=maybe',
        '`train_dataloader.sampler.round_up` must be True or False',
    ),
    ('train_dataloader.prefetch_factor=4', 'prefetch_factor option could'),
    ('train_dataloader.timeout=-1', 'timeout option should be non-negative'),
    # the schedule
    (
        'train_cfg.dynamic_intervals=[(1,0)]',
        '`train_cfg.dynamic_intervals` must be pairs of a start and an',
    ),
    ('train_cfg.dynamic_intervals=abc', '`train_cfg.dynamic_intervals` must'),
    (
        'param_scheduler.0.start_factor=0',
        '`param_scheduler.0.start_factor` must be a positive number, got 0',
    ),
    (
        'param_scheduler.0.start_factor=abc',
        '`param_scheduler.0.start_factor` must be a positive number, got',
    ),
    (
        'param_scheduler.1.eta_min=abc',
        '`param_scheduler.1.eta_min` must be a number of at least 0',
    ),
    (
        'param_scheduler.1.eta_min=-1',
        '`param_scheduler.1.eta_min` must be a number of at least 0, got -1',
    ),
    (
        'param_scheduler.0.convert_to_iter_based=maybe',
        '`param_scheduler.0.convert_to_iter_based` must be True or False',
    ),
    # the optimizer
    (
        f'{OPTIMIZER}.amsgrad=maybe',
        f'`{OPTIMIZER}.amsgrad` must be True or False',
    ),
    (f'{OPTIMIZER}.lr=nan', f'`{OPTIMIZER}.lr` must be a positive number'),
    (
        f'{PARAMS}.custom_keys.backbone=abc',
        f'`{PARAMS}.custom_keys.backbone` must be a dict such as dict(lr_mul',
    ),
    (
        f'{PARAMS}.custom_keys.backbone.lr_mult=abc',
        f'`{PARAMS}.custom_keys.backbone.lr_mult` must be a number',
    ),
    (f'{PARAMS}=abc', 'paramwise_cfg should be None or a dict'),
    ('optim_wrapper.clip_grad.type=foo', 'type of clip_grad should be "norm"'),
    (
        'optim_wrapper.constructor=Foo',
        'there is no optimizer wrapper constructor `Foo`',
    ),
    ('auto_scale_lr.enable=maybe', '`auto_scale_lr.enable` must be True or'),
    # hooks and surroundings
    (
        f'{CHECKPOINT}.filename_tmpl=abc',
        f'`{CHECKPOINT}.filename_tmpl` must be a name such as',
    ),
    (
        f'{CHECKPOINT}.filename_tmpl=sub/{{}}.pth',
        f'`{CHECKPOINT}.filename_tmpl` must be a name such as',
    ),
    (f'{CHECKPOINT}.filename_tmpl=5', f'`{CHECKPOINT}.filename_tmpl` must be'),
    (f'{CHECKPOINT}.out_dir=5', f'`{CHECKPOINT}.out_dir` must be the name of'),
    (
        f'{CHECKPOINT}.out_dir=/proc/x',
        'cannot write into the folder `/proc/x` (',
    ),
    (
        f'{CHECKPOINT}.save_optimizer=maybe',
        f'`{CHECKPOINT}.save_optimizer` must be True or False',
    ),
    (
        f'{CHECKPOINT}.save_last=maybe',
        f'`{CHECKPOINT}.save_last` must be True or False',
    ),
    ('default_hooks.foo=5', '`default_hooks.foo` must be a part, dict(type='),
    (
        'default_hooks.stop.type=mmhgkd.StopOnSignalHook '
        'default_hooks.stop.signals=SIGTERM',
        "`signals` of StopOnSignalHook must be a list such as ['SIGTERM']",
    ),
    ('env_cfg.resource_limit=abc', '`env_cfg.resource_limit` must be a whole'),
    (
        'val_evaluator.0.collect_device=gpuu',
        "`collect_device` of a metric of `val_evaluator` must be one of ('cp",
    ),
    ('load_from=', "`load_from` must be a file or None, got ''"),
    (
        'load_from=openmmlab://nothing',
        "there is no model 'nothing' that `openmmlab://nothing` could name",
    ),
    ('runner_type=5', '`runner_type` must be a runner, got 5'),
    ('runner_type=Foo', 'there is no runner `Foo`'),
    ('default_scope=5', 'scope_name should be a string, but got 5'),
]
