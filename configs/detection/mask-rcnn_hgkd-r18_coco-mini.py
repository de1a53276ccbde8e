# From the student that configs/hgkd/r18_folder.py has distilled on a folder of
# images; minutes on two cores.
_base_ = [
    '../_base_/models/detection_mask-rcnn_r18_fpn.py',
    '../_base_/datasets/coco_mini.py',
    '../_base_/schedules/detection_small.py',
    '../_base_/detection_runtime.py',
]

student_checkpoint = 'work_dirs/r18_folder/epoch_20.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
