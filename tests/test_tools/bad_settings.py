"""Settings of the wrong kind or out of range, for the table of bad input.

A row holds options, and a part of the message.
"""

MODEL = [
    ('model=None', '`model` must be a part, dict(type=...), got None'),
    ('model=abc', "`model` must be a dict of settings, got 'abc'"),
    ('model.type=None', '`model` has no `type`; set `model.type`'),
    (
        'model.backbone=None',
        '`model.backbone` must be a part, dict(type=...), got None',
    ),
    (
        'model.backbone=abc',
        "`model.backbone` must be a part, dict(type=...), got 'abc'",
    ),
    (
        'model.teacher=None',
        '`model.teacher` must be a part, dict(type=...), got None',
    ),
    (
        'model.teacher=abc',
        "`model.teacher` must be a part, dict(type=...), got 'abc'",
    ),
    (
        'model.head=None',
        '`model.head` must be a part, dict(type=...), got None',
    ),
    (
        'model.neck=abc',
        "`model.neck` must be a part, dict(type=...), got 'abc'",
    ),
    (
        'model.mask=abc',
        "`model.mask` must be a part, dict(type=...), got 'abc'",
    ),
    (
        'model.data_preprocessor=abc',
        '`model.data_preprocessor` must be a dict of settings, got',
    ),
    (
        'model.backbone.in_channels=1',
        '`model.backbone.in_channels` is 1, but the images have',
    ),
    (
        'model.backbone.style=foo',
        "`model.backbone.style` must be one of ('pytorch',",
    ),
    (
        'model.backbone.drop_path_rate=2',
        '`model.backbone.drop_path_rate` must lie in [0, 1), got 2',
    ),
    (
        'model.backbone.drop_path_rate=abc',
        '`model.backbone.drop_path_rate` must lie in [0, 1), got',
    ),
    (
        'model.backbone.norm_cfg.type=BNN',
        'there is no model `BNN`; did you mean `BN`?',
    ),
    (
        'model.mask.mask_ratio=0.99 train_dataloader.batch_size=1',
        'set `train_dataloader.batch_size` to at least 2',
    ),
    ('model.backbone.out_indices=(0,1,2,7)', 'does not hold (AssertionError)'),
    (
        'model.backbone.norm_eval=maybe',
        '`model.backbone.norm_eval` must be True or False, got',
    ),
    (
        'model.backbone.init_cfg=abc',
        '`model.backbone.init_cfg` must be a dict such as dict(',
    ),
    (
        'model.data_preprocessor.to_rgb=maybe',
        '`model.data_preprocessor.to_rgb` must be True or False,',
    ),
    (
        'model.neck.norm_cfg=abc',
        "`model.neck.norm_cfg` must be a dict of settings, got 'abc'",
    ),
    (
        'model.neck.norm_cfg.type=LN2d',
        'neck `norm_cfg` LN2d is no batch norm, which packed positions',
    ),
    ('model.neck.width=1.5', 'neck `width` must be a whole number of at'),
    ('model.mask.unit=32.5', 'mask `unit` must be a whole number of pixels'),
    (
        'model.mask.mask_ratio=abc',
        "`mask_ratio` must lie in [0, 1), got 'abc'",
    ),
    ('model.mask.seed=abc', "mask `seed` must be a whole number, got 'abc'"),
    (
        'model.teacher.checkpoint=5',
        '`model.teacher.checkpoint` must be a file, got 5',
    ),
    (
        'model.head.feature_loss=abc',
        "`head.feature_loss` must be a part, dict(type=...), or None, got 'ab",
    ),
    (
        'model.head.feature_loss.type=CrossEntropyLoss',
        '`head.feature_loss` CrossEntropyLoss does not compare tokens',
    ),
    (
        'model.head.feature_loss.loss_weight=abc',
        'feature_loss `loss_weight` must be a number of at least 0',
    ),
    (
        'model.head.feature_loss.loss_weight=-1',
        'feature_loss `loss_weight` must be a number of at least 0',
    ),
    (
        'model.head.similarity_loss.loss_weight=abc',
        'similarity_loss `loss_weight` must be a number of at least',
    ),
    (
        'model.head.feature_loss.loss_weight=0 '
        'model.head.similarity_loss.loss_weight=0',
        'all losses have a `loss_weight` of 0, so that nothing is',
    ),
    ('model.head.queue.size=1.5', 'queue `size` must be a positive whole'),
]
DATA = [
    (
        'train_dataloader=abc',
        "`train_dataloader` must be a dict of settings, got 'abc'",
    ),
    (
        'train_dataloader.dataset=None',
        '`train_dataloader.dataset` must be a part,',
    ),
    (
        'train_dataloader.dataset.pipeline=[]',
        '`train_dataloader.dataset.pipeline` must be a list of at',
    ),
    (
        'train_dataloader.dataset.pipeline=None',
        '`train_dataloader.dataset.pipeline` must be a list of at',
    ),
    (
        'train_dataloader.dataset.extensions=jpg',
        '`train_dataloader.dataset.extensions` must be a list such',
    ),
    (
        'train_dataloader.sampler=None',
        '`train_dataloader.sampler` must be a part,',
    ),
    (
        'train_dataloader.sampler.shuffle=maybe',
        '`train_dataloader.sampler.shuffle` must be True or False,',
    ),
    (
        'train_dataloader.batch_size=True',
        '`train_dataloader.batch_size` must be a whole number of',
    ),
    (
        'train_dataloader.batch_size=1.5',
        '`train_dataloader.batch_size` must be a whole number of',
    ),
    (
        'train_dataloader.drop_last=maybe',
        '`train_dataloader.drop_last` must be True or False, got',
    ),
    (
        'train_dataloader.pin_memory=maybe',
        '`train_dataloader.pin_memory` must be True or False, got',
    ),
]
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
        '`optim_wrapper.optimizer.lr` must be a number of at least',
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
]
SETTINGS = [*MODEL, *DATA, *RUN]
