# The decoder of the distillation as decode head, untrained. Its width and
# depth are those of the neck in configs/hgkd/r18_scenes_unet.py.
_base_ = 'upernet_scratch-r18_scenes.py'

custom_imports = dict(
    imports=['mmhgkd.transfer.segmentation'], allow_failed_imports=False
)

model = dict(
    decode_head=dict(
        _delete_=True,
        type='mmhgkd.UNetHead',
        in_channels=[64, 128, 256, 512],
        in_index=[0, 1, 2, 3],
        decoder=dict(width=256),
        num_classes=11,
    )
)
