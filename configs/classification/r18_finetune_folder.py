# As r18_scratch_folder.py, from the distilled student:
#   tools/train.py configs/classification/r18_finetune_folder.py \
#       --cfg-options data_root=PATH model.head.num_classes=10 \
#       student_checkpoint=work_dirs/r18_folder/epoch_20.pth
_base_ = 'r18_scratch_folder.py'

student_checkpoint = 'work_dirs/r18_scenes/epoch_20.pth'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=student_checkpoint,
            prefix='backbone.',
        )
    )
)
