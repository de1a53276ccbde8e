# A small teacher on any folder of images:
#   tools/train.py configs/mae/vit-micro_folder.py \
#       --cfg-options train_dataloader.dataset.data_root=PATH
_base_ = 'vit-micro_scenes.py'

train_dataloader = dict(dataset=dict(data_root='data/images'))
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None
