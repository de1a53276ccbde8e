from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmhgkd.teachers.checkpoint import (
    find_differences,
    read_checkpoint,
    read_state_dict,
    summarize,
)
from mmhgkd.utils import ConfigError

from .stored_config import parse_config

State = dict[str, Tensor]

#: Stage whose map is the last one, by the type of network.
LAST_STAGE: dict[str, tuple[int, ...] | None] = {
    'ResNet': (3,),
    'ConvNeXt': (3,),
    'MobileNetV2': (7,),
    'MobileNetV3': None,
    'EfficientNet': (6,),
}
# What changes the training or the choice of outputs, and no output.
_NO_EFFECT = (
    'backend',
    'init_cfg',
    'pretrained',
    'frozen_stages',
    'norm_eval',
    'with_cp',
    'drop_path_rate',
    'out_indices',
    'gap_before_final_norm',
)
_HEAD_OPTIONS = (
    'type',
    'num_classes',
    'in_channels',
    'mid_channels',
    'act_cfg',
    'norm_cfg',
    'dropout_rate',
)
_BACKBONE, _HEAD = 'backbone.', 'head.'


@dataclass(frozen=True)
class Student:
    """The CNN of a checkpoint, alone.

    Args:
        source (str): The checkpoint.
        backbone (dict): Config of the dense network of mmpretrain that
            computes what the student computes on whole images.
        weights (dict[str, Tensor]): Its state dict.
        head (dict, optional): Config of the classifier on top of it.
            Defaults to None.
        head_weights (dict[str, Tensor]): State dict of the classifier.
            Defaults to an empty one.
        classes (tuple[str]): Names of the classes. Defaults to ().
    """

    source: str
    backbone: dict[str, Any]
    weights: State
    head: dict[str, Any] | None = None
    head_weights: State = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """Type of the network, a key of ``LAST_STAGE``."""
        return self.backbone['type']

    def classifier(self) -> dict[str, Any]:
        """Config of mmpretrain's model: embeddings, and logits of a head."""
        # ConvNeXt averages itself, before its last norm.
        neck = dict(type='GlobalAveragePooling')
        return dict(
            type='ImageClassifier',
            backbone=self.backbone,
            neck=None if self.family == 'ConvNeXt' else neck,
            head=self.head,
        )

    def build(self) -> nn.Module:
        """Build mmpretrain's model with the weights, in eval mode.

        Raises:
            ConfigError: If config and weights do not fit together.
        """
        try:
            with DefaultScope.overwrite_default_scope('mmpretrain'):
                model = MODELS.build(Config(self.classifier()))
        except (TypeError, ValueError, AssertionError, KeyError) as error:
            raise ConfigError(
                f'{self.source}: mmpretrain has no {self.family} with the '
                f'options of this student ({error})'
            ) from error
        for name, module, state in (
            ('backbone', model.backbone, self.weights),
            ('head', model.head, self.head_weights),
        ):
            if module is None:
                continue
            lines = summarize(find_differences(module.state_dict(), state))
            if lines:
                raise ConfigError(
                    f'{self.source}: the weights of the {name} do not fit '
                    f'the config ({"; ".join(lines)}); give the config of '
                    'the training'
                )
            module.load_state_dict(state)
        model.train(False)
        return model


def outputs(model: Any, images: Tensor) -> dict[str, Tensor]:
    """Embedding of :meth:`Student.build`'s model, and logits of its head."""
    with torch.no_grad():
        features = model.extract_feat(images)
        result = {'embedding': features[-1]}
        if model.head is not None:
            result['logits'] = model.head(features)
    return result


def read_student(
    checkpoint: str,
    config: Mapping[str, Any] | None = None,
    with_head: bool = True,
) -> Student:
    """Read the student of a distillation or a downstream checkpoint.

    No code of the file is run.

    Args:
        checkpoint (str): File or URL of a checkpoint of MMEngine.
        config (Mapping, optional): Config of the training. Defaults to None,
            which means the one in the checkpoint.
        with_head (bool): Whether to keep the head of a classifier.
            Defaults to True.

    Returns:
        Student: Network and weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If it holds no student.
    """
    content = read_checkpoint(checkpoint, 'checkpoint')
    state = read_state_dict(checkpoint)
    meta = content.get('meta') if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        meta = {}
    if config is None:
        config = stored_config(meta, checkpoint)
    model = config.get('model')
    if not isinstance(model, Mapping) or not model.get('backbone'):
        raise ConfigError(
            f'{checkpoint}: its config has no `model.backbone`; give a '
            'checkpoint of tools/train.py, or its config'
        )
    backbone = dense_config(model['backbone'], checkpoint)
    weights = strip(state, _BACKBONE)
    if not weights:
        raise ConfigError(
            f'{checkpoint} holds no key that starts with '
            f'`{_BACKBONE}`; give a checkpoint of '
            'tools/train.py'
        )
    if backbone['type'] == 'ConvNeXt':
        # The maps of the inner stages have norms that no classifier has.
        weights = {
            key: value
            for key, value in weights.items()
            if not key.startswith(('norm0.', 'norm1.', 'norm2.'))
        }
    head = None
    if (
        with_head
        and _unscoped(model['type']) == 'ImageClassifier'
        and (model.get('head'))
    ):
        head = {
            key: value
            for key, value in model['head'].items()
            if key in _HEAD_OPTIONS
        }
    return Student(
        checkpoint,
        backbone,
        weights,
        head,
        strip(state, _HEAD) if head else {},
        _classes(meta),
    )


def stored_config(meta: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The config in the meta data of a checkpoint.

    Raises:
        ConfigError: If there is none.
    """
    text = meta.get('cfg')
    if not isinstance(text, str):
        raise ConfigError(
            f'{source}: holds no config, so its network is not '
            'known; give the config of the training'
        )
    return parse_config(text, source)


def dense_config(backbone: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Config of mmpretrain's network for that of a student.

    Args:
        backbone (Mapping): ``model.backbone`` of a config of mmpretrain,
            mmdetection, mmsegmentation or this project.
        source (str): File that it comes from, for error messages.

    Returns:
        dict: Its type is a key of ``LAST_STAGE``; its last stage is returned.

    Raises:
        ConfigError: If it is another network.
    """
    family = _unscoped(backbone['type']).removeprefix('Sparse')
    if family not in LAST_STAGE:
        raise ConfigError(
            f'{source}: the student is a {backbone["type"]}; converted are '
            f'{", ".join(LAST_STAGE)} and their sparse forms'
        )
    options = {k: v for k, v in backbone.items() if k not in _NO_EFFECT}
    norm = options.get('norm_cfg')
    if norm is None:
        options.pop('norm_cfg', None)
    elif 'BN' in norm['type'] or 'BatchNorm' in norm['type']:
        options['norm_cfg'] = {**norm, 'type': 'BN'}
    options['type'] = family
    if LAST_STAGE[family] is not None:
        options['out_indices'] = list(LAST_STAGE[family] or ())
    if family == 'ConvNeXt':
        options['gap_before_final_norm'] = True
    return options


def strip(state: Mapping[str, Tensor], prefix: str) -> State:
    """Keys that start with ``prefix``, without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }


def _unscoped(name: str) -> str:
    return name.rpartition('.')[2]


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...]:
    found = meta.get('dataset_meta')
    classes = found.get('classes') if isinstance(found, Mapping) else None
    if isinstance(classes, (list, tuple)) and all(
        isinstance(name, str) for name in classes
    ):
        return tuple(classes)
    return ()
