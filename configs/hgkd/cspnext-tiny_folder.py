# The CSPNeXt of MMDetection's RTMDet-tiny, for a detector of the YOLO type:
# configs/detection/rtmdet-tiny_hgkd-cspnext-tiny_scenes.py goes on from it.
_base_ = 'r18_folder.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhgkd.SparseNetwork',
        network=dict(
            type='mmdet.CSPNeXt',
            deepen_factor=0.167,
            widen_factor=0.375,
            channel_attention=True,
            # RTMDet's; that of the class has another epsilon.
            norm_cfg=dict(type='BN'),
            act_cfg=dict(type='SiLU', inplace=True),
            out_indices=(2, 3, 4),
        ),
    ),
    head=dict(direct_loss=dict(in_channels=[192, 384])),
)
