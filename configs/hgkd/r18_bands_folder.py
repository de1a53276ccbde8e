# Images of four channels, such as red, green, blue and near infrared, of which
# the teacher sees the first three. For other bands change their number in the
# two places, mean and deviation of each, and what the teacher sees.
_base_ = 'r18_dinov2_folder.py'

data_preprocessor = dict(
    _delete_=True,
    type='mmhgkd.BandsDataPreprocessor',
    mean=(123.675, 116.28, 103.53, 110.0),
    std=(58.395, 57.12, 57.375, 55.0),
    non_blocking=True,
)
model = dict(
    teacher=dict(bands=(0, 1, 2)),
    backbone=dict(in_channels=4),
)
train_pipeline = [
    dict(type='mmhgkd.LoadImage', bands=4),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
