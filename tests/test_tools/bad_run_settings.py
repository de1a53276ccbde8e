"""Settings of a run that are of the wrong kind or out of range.

A row holds options, and a part of the message.
"""

RUN = [
    (
        'train_cfg.max_epochs=True',
        '`train_cfg.max_epochs` must be a whole number of at least',
    ),
    (
        'train_cfg.max_epochs=1.5',
        '`train_cfg.max_epochs` must be a whole number of at least',
    ),
    (
        'train_cfg.val_interval=0',
        '`train_cfg.val_interval` must be a whole number of at',
    ),
    (
        'train_cfg.by_epoch=maybe',
        "`train_cfg.by_epoch` must be True or False, got 'maybe'",
    ),
    ('train_cfg=abc', "`train_cfg` must be a dict of settings, got 'abc'"),
    ('val_cfg=None', '`val_cfg` is not set, but `val_dataloader` is; an'),
    (
        'val_dataloader=None',
        '`val_dataloader` is not set, but `val_cfg` is; an',
    ),
    ('val_evaluator=None', '`val_evaluator` is not set, but `val_cfg` is; an'),
    (
        'val_evaluator=abc',
        '`val_evaluator` must be a list of parts, dict(type=...),',
    ),
    ('test_cfg=None', '`test_cfg` is not set, but `test_dataloader` is; an'),
    (
        'randomness.seed=-1',
        '`randomness.seed` must be a whole number from 0 to',
    ),
    (
        'randomness.seed=True',
        '`randomness.seed` must be a whole number from 0 to',
    ),
    (
        'randomness.seed=5000000000',
        '`randomness.seed` must be a whole number from 0 to',
    ),
    ('randomness.sed=1', "a key of `randomness` must be one of ('seed',"),
    ('randomness=5', '`randomness` must be a dict of settings, got 5'),
    (
        'randomness.deterministic=maybe',
        '`randomness.deterministic` must be True or False, got',
    ),
    ('work_dir=5', '`work_dir` must be the name of a folder, got 5; set'),
    (
        'load_from=images',
        '`images` of `load_from` is a folder; name the checkpoint',
    ),
    ('load_from=5', '`load_from` must be a file or None, got 5'),
    (
        'resume=maybe',
        "`resume` must be one of (True, False, 'auto'), got 'maybe'",
    ),
    (
        'env_cfg.mp_cfg.mp_start_method=foo',
        "`env_cfg.mp_cfg.mp_start_method` must be one of ['fork',",
    ),
    ('env_cfg=abc', "`env_cfg` must be a dict of settings, got 'abc'"),
    (
        'env_cfg.mp_cfg=abc',
        "`env_cfg.mp_cfg` must be a dict of settings, got 'abc'",
    ),
    (
        'env_cfg.mp_cfg.opencv_num_threads=abc',
        '`env_cfg.mp_cfg.opencv_num_threads` must be a whole',
    ),
    (
        'env_cfg.dist_cfg.backend=glo',
        "`env_cfg.dist_cfg.backend` must be one of ('gloo', 'nccl',",
    ),
    ('tta_model=5', '`tta_model` must be a part, dict(type=...), got 5'),
    (
        'log_processor.num_digits=x',
        '`log_processor.num_digits` must be a whole number of at least 0',
    ),
    (
        'log_processor.custom_cfg=abc',
        '`log_processor.custom_cfg` must be a list of dicts such as',
    ),
    (
        'val_dataloader.dataset.with_label=False',
        '`ProbeImages` sets `with_label` itself; leave it out',
    ),
    ('param_scheduler=abc', '`param_scheduler` must be a list of parts,'),
    (
        'optim_wrapper=abc',
        "`optim_wrapper` must be a dict of settings, got 'abc'",
    ),
    (
        'optim_wrapper.optimizer=None',
        '`optim_wrapper.optimizer` must be a part, dict(type=...),',
    ),
    (
        'optim_wrapper.clip_grad=abc',
        '`optim_wrapper.clip_grad` must be None or a dict such as',
    ),
    (
        'optim_wrapper.clip_grad.max_norm=abc',
        '`optim_wrapper.clip_grad.max_norm` must be a positive',
    ),
    (
        'optim_wrapper.clip_grad.max_norm=-1',
        '`optim_wrapper.clip_grad.max_norm` must be a positive',
    ),
    (
        'optim_wrapper.accumulative_counts=0',
        '`optim_wrapper.accumulative_counts` must be a whole',
    ),
    (
        'optim_wrapper.optimizer.lr=True',
        '`optim_wrapper.optimizer.lr` must be a positive number',
    ),
    (
        'default_hooks=abc',
        "`default_hooks` must be a dict of settings, got 'abc'",
    ),
    (
        'default_hooks.checkpoint.interval=0',
        '`default_hooks.checkpoint.interval` must be a whole',
    ),
    (
        'default_hooks.checkpoint.interval=abc',
        '`default_hooks.checkpoint.interval` must be a whole',
    ),
    (
        'default_hooks.checkpoint.max_keep_ckpts=0',
        '`default_hooks.checkpoint.max_keep_ckpts` must be a whole',
    ),
    (
        'default_hooks.checkpoint=abc',
        '`default_hooks.checkpoint` must be a part,',
    ),
    (
        'default_hooks.logger.interval=0',
        '`default_hooks.logger.interval` must be a whole number of',
    ),
    (
        'default_hooks.checkpoint.by_epoch=maybe',
        '`default_hooks.checkpoint.by_epoch` must be True or',
    ),
    (
        'default_hooks.logger.interval=abc',
        '`default_hooks.logger.interval` must be a whole number of',
    ),
    (
        'custom_hooks=abc',
        '`custom_hooks` must be a list of parts, dict(type=...),',
    ),
    ('visualizer=abc', "`visualizer` must be a dict of settings, got 'abc'"),
    ('compile=maybe', '`compile` must be True, False or a dict of options of'),
    (
        'log_processor=abc',
        "`log_processor` must be a dict of settings, got 'abc'",
    ),
    (
        'auto_scale_lr=abc',
        "`auto_scale_lr` must be a dict of settings, got 'abc'",
    ),
    ('log_level=5', '`log_level` must be DEBUG, INFO, WARNING, ERROR or'),
    (
        'find_unused_parameters=maybe',
        '`find_unused_parameters` must be True or False, got',
    ),
    ('--work-dir=', "`work_dir` must be the name of a folder, got ''; set"),
    (
        '--launcher=pytorch',
        '`--launcher pytorch` is for processes that torchrun',
    ),
    (
        '--resume=images',
        '`images` of `load_from` is a folder; name the checkpoint',
    ),
    ('launcher=foo', "`launcher` must be one of ('none', 'pytorch', "),
    ('work_dir=/proc/x', 'cannot write into the work folder `/proc/x`'),
    (
        'load_from=http://127.0.0.1:9/a.pth',
        'http://127.0.0.1:9/a.pth: cannot be downloaded',
    ),
    (
        'default_hooks.checkpoint.type=LoggerHook',
        'is no option of `LoggerHook`; leave it out',
    ),
    (
        'default_hooks.checkpoint.out_dir=notes.txt',
        '`notes.txt` of `default_hooks.checkpoint.out_dir` is a file',
    ),
    (
        'default_hooks.checkpoint.rule=up',
        "`default_hooks.checkpoint.rule` must be one of (None, 'greater',",
    ),
    (
        'custom_hooks.0.interval=0',
        '`custom_hooks.0.interval` must be a whole number of at least 1',
    ),
    (
        'custom_hooks.0.interval=abc',
        '`custom_hooks.0.interval` must be a whole number of at least 1',
    ),
    (
        'default_hooks.stop.type=mmhgkd.StopOnSignalHook '
        'default_hooks.stop.interval=abc',
        '`default_hooks.stop.interval` must be a whole number of at least 1',
    ),
    ('log_processor.window_size=0', '`log_processor.window_size` must be a'),
    ('log_processor.window_size=abc', '`log_processor.window_size` must be a'),
    ('log_processor.by_epoch=maybe', '`log_processor.by_epoch` must be True'),
    ('env_cfg.cudnn_benchmark=maybe', '`env_cfg.cudnn_benchmark` must be'),
    (
        'param_scheduler.0.end=abc',
        '`param_scheduler.0.end` must be a whole number of at least 1',
    ),
    (
        'param_scheduler.0.begin=-1',
        '`param_scheduler.0.begin` must be a whole number of at least 0',
    ),
    (
        'param_scheduler.1.begin=99',
        '`param_scheduler.1` begins at 99 and ends at',
    ),
    (
        'param_scheduler.1.by_epoch=maybe',
        '`param_scheduler.1.by_epoch` must be True or False',
    ),
    (
        'param_scheduler.1.T_max=0',
        '`param_scheduler.1.T_max` must be a whole number of at least 1',
    ),
    (
        'optim_wrapper.optimizer.betas=abc',
        '`optim_wrapper.optimizer.betas` must be numbers in [0, 1) such as',
    ),
    (
        'optim_wrapper.optimizer.weight_decay=abc',
        '`optim_wrapper.optimizer.weight_decay` must be a number of at',
    ),
    (
        'optim_wrapper.optimizer.eps=-1',
        '`optim_wrapper.optimizer.eps` must be a number of at least 0',
    ),
    (
        'optim_wrapper.paramwise_cfg.norm_decay_mult=abc',
        '`optim_wrapper.paramwise_cfg.norm_decay_mult` must be a number',
    ),
    (
        'optim_wrapper.optimizer.lrr=1',
        '`lrr` is no option of `AdamW`; did you mean `lr`?',
    ),
    (
        'optim_wrapper.constructor=LearningRateDecayOptimWrapperConstructor',
        'cannot decay by layer; leave out `optim_wrapper.constructor`',
    ),
    ('train_cfg.max_epoch=3', 'did you mean `max_epochs`?'),
    ('val_evaluator.0.k=abc', "`k` must be at least 1 neighbor, got 'abc'"),
    ('val_evaluator.0.prefix=5', 'of `val_evaluator` must be a word, got 5'),
    ('auto_scale_lr.enable=True', 'needs the total batch size that the'),
    (
        'optim_wrapper.clip_grad.norm_type=abc',
        '`optim_wrapper.clip_grad.norm_type` must be a number such as',
    ),
    (
        'env_cfg.dist_cfg.timeout=abc',
        '`env_cfg.dist_cfg.timeout` must be a positive number of seconds',
    ),
    ('val_evaluator.1.C=abc', "`C` must be positive, got 'abc'"),
]
