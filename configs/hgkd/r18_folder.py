# A small student on any folder of images:
#   tools/train.py configs/hgkd/r18_folder.py --cfg-options \
#       train_dataloader.dataset.data_root=PATH \
#       model.teacher.checkpoint=work_dirs/vit-micro_folder/epoch_60.pth
# L_sim takes the student's embedding from the encoder, at the paper's weight:
# the form that did best on photos (docs/study.md).
_base_ = 'r18_scenes.py'

teacher_checkpoint = 'work_dirs/vit-micro_folder/epoch_60.pth'

model = dict(
    teacher=dict(checkpoint=teacher_checkpoint),
    head=dict(
        similarity_loss=dict(loss_weight=1.0),
        embedding=dict(source='encoder', projector='linear', in_channels=512),
    ),
)
train_dataloader = dict(dataset=dict(data_root='data/images'))
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None
