# Scenes with several shapes each, which need no download:
#   tools/dataset_converters/make_scenes.py data/scenes_det --task det
_base_ = 'coco_mini.py'

data_root = 'data/scenes_det'
metainfo = dict(
    classes=(
        'circle',
        'square',
        'triangle',
        'star',
        'ring',
        'cross',
        'crescent',
        'hexagon',
        'heart',
        'arrow',
    )
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
        ),
    ),
]

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + '/annotations/instances_val2017.json'
)
test_evaluator = val_evaluator
