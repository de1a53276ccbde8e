# Not yet run at full scale.
_base_ = 'r50_scratch_300e.py'

model = dict(
    backbone=dict(
        _delete_=True, type='ConvNeXt', arch='tiny', drop_path_rate=0.1
    ),
    neck=None,
    head=dict(in_channels=768),
)

# The rate of ConvNeXt (arXiv 2201.03545) for this batch size.
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=4e-3 * 2048 / 4096, weight_decay=0.05
    )
)
