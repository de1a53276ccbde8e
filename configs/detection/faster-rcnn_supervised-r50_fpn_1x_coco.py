# The baseline of faster-rcnn_hgkd-r50_fpn_1x_coco.py: supervised on ImageNet.
_base_ = 'faster-rcnn_hgkd-r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='torchvision://resnet50',
        )
    )
)
