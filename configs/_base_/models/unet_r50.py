# The decoder of the distillation as decode head. Its width and depth are
# those of the neck in configs/hgkd/r50_mae_paper.py.
_base_ = 'upernet_r50.py'

custom_imports = dict(
    imports=['mmhgkd.transfer.segmentation'], allow_failed_imports=False
)

model = dict(
    decode_head=dict(
        _delete_=True,
        type='mmhgkd.UNetHead',
        in_channels=[256, 512, 1024, 2048],
        in_index=[0, 1, 2, 3],
        decoder=dict(width=768),
        num_classes=150,
    )
)
