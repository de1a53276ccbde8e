# As r18_dinov2_folder.py; the stage before the last imitates the teacher, too.
_base_ = 'r18_dinov2_folder.py'

model = dict(
    head=dict(
        direct_loss=dict(
            in_channels=[256, 512], stages=[-2, -1], strides=[16, 32]
        )
    )
)
