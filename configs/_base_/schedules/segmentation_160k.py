# The schedule of MMSegmentation for ADE20K, 16 images a step.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005),
)

param_scheduler = [
    dict(
        type='PolyLR',
        eta_min=1e-4,
        power=0.9,
        begin=0,
        end=160000,
        by_epoch=False,
    )
]

train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=160000, val_interval=16000
)

# The learning rate above is for this batch size over all GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=16)
