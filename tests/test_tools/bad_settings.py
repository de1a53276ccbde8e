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
    (
        'model.backbone.dept=18',
        '`dept` is no option of `SparseResNet`; did you mean `depth`?',
    ),
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
    (
        'train_dataloader.dataset.data_root=5',
        '`data_root` must be the name of a folder, got 5',
    ),
    (
        'train_dataloader.dataset.max_images=abc',
        "`max_images` must be a whole number of at least 1, got 'abc'",
    ),
    (
        'train_dataloader.dataset.extensions=[]',
        "extensions` must be a list such as ['.jpg', '.png'], got []",
    ),
    (
        'train_dataloader.dataset.pipeline.1.scale=0',
        '`scale` must be a whole number of pixels or a pair of these, got 0',
    ),
    (
        'train_dataloader.dataset.pipeline.1.crop_ratio_range=(0,0)',
        '`crop_ratio_range` must start above 0, got (0, 0)',
    ),
    (
        'train_dataloader.batchsize=4',
        '`train_dataloader.batchsize` is no option of a data loader; did you '
        'mean `batch_size`?',
    ),
    (
        'val_dataloader.dataset.pipeline.1.scale=abc',
        '`val_dataloader.dataset.pipeline` fails at the first sample:',
    ),
    (
        'train_dataloader.collate_fn=abc',
        '`train_dataloader.collate_fn` must be a part, dict(type=...)',
    ),
    (
        'train_dataloader.collate_fn.type=nothing',
        'there is no function `nothing`',
    ),
]
