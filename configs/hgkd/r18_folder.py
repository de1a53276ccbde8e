# A small student on any folder of images:
#   tools/train.py configs/hgkd/r18_folder.py --cfg-options \
#       train_dataloader.dataset.data_root=PATH \
#       model.teacher.checkpoint=work_dirs/vit-micro_folder/epoch_60.pth
_base_ = 'r18_scenes.py'

teacher_checkpoint = 'work_dirs/vit-micro_folder/epoch_60.pth'

model = dict(teacher=dict(checkpoint=teacher_checkpoint))
train_dataloader = dict(dataset=dict(data_root='data/images'))
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None
