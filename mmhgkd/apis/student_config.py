import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmhgkd.utils import ConfigError

_IMAGENET = dict(
    mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), to_rgb=True
)


def student_config(config: Mapping[str, Any]) -> Config:
    """Config of the student alone, as a model of mmpretrain.

    The model gives embeddings, without teacher, decoder and mask, and the
    scores of the classifier where the config has one. It works with
    mmpretrain's ``get_model``, ``FeatureExtractor`` and inferencers.

    Args:
        config (Mapping): Config of a distillation, or of a task of
            mmpretrain, mmdetection or mmsegmentation.

    Returns:
        Config: ``model``, and the images' way into it in
        ``test_dataloader``.

    Raises:
        ConfigError: If the config has no backbone.
    """
    model = config.get('model')
    if not isinstance(model, Mapping) or not model.get('backbone'):
        raise ConfigError(
            'the config has no `model.backbone`; give that of a '
            'training of this project'
        )
    backbone = copy.deepcopy(dict(model['backbone']))
    # Weights come from a checkpoint, or are not wanted.
    backbone.pop('init_cfg', None)
    neck: Any = dict(type='GlobalAveragePooling')
    head = None
    if model['type'].rpartition('.')[2] == 'ImageClassifier' and (
        model.get('head')
    ):
        neck, head = model.get('neck'), model['head']
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                data_preprocessor=_preprocessor(config),
                backbone=backbone,
                neck=neck,
                head=head,
            ),
            test_dataloader=inference_dataloader(config),
        )
    )


def inference_dataloader(config: Mapping[str, Any]) -> dict[str, Any]:
    """The images' way into the model, in the words of mmpretrain.

    Args:
        config (Mapping): Config of a training.

    Returns:
        dict: With ``dataset.pipeline``, which begins with mmpretrain's own
        loading of images, as its inferencers ask for that.
    """
    steps = None
    if config.get('default_scope') == 'mmpretrain':
        loader = config.get('test_dataloader')
        # The configs keep theirs where the evaluation is switched off.
        steps = (
            loader['dataset']['pipeline']
            if loader
            else config.get('eval_pipeline')
        )
    if steps:
        pipeline = [dict(step) for step in steps[1:]]
    else:
        size = _train_size(config)
        pipeline = [
            dict(
                type='ResizeEdge',
                scale=round(size * 256 / 224),
                edge='short',
                backend='pillow',
            ),
            dict(type='CenterCrop', crop_size=size),
            dict(type='PackInputs'),
        ]
    return dict(
        dataset=dict(
            type='mmhgkd.ImageFolder',
            data_root='',
            pipeline=[dict(type='LoadImageFromFile'), *pipeline],
        )
    )


def _preprocessor(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        **(config.get('data_preprocessor') or {}),
        **(config['model'].get('data_preprocessor') or {}),
    }
    if 'bgr_to_rgb' in found:  # mmdetection's and mmsegmentation's word
        found['to_rgb'] = found['bgr_to_rgb']
    return dict(
        type='ClsDataPreprocessor',
        **{key: found.get(key, value) for key, value in _IMAGENET.items()},
    )


def _train_size(config: Mapping[str, Any]) -> int:
    """Side of the random crops of the training."""
    for step in config.get('train_pipeline') or []:
        if step['type'] == 'RandomResizedCrop' and isinstance(
            step['scale'], int
        ):
            return step['scale']
    return 224
