"""Students as the dense networks of mmpretrain that compute the same."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from mmhgkd.utils import ConfigError
from mmhgkd.utils.find_type import type_name

from .student import POOLING, Student

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


def dense_student(student: Student) -> Student:
    """The same student as mmpretrain's own network, on whole images.

    Its type is a key of ``LAST_STAGE``, and its last stage is returned. A
    network of another library stays what it was before it became sparse, with
    the stages that it returns.

    Raises:
        ConfigError: If it is another network.
    """
    backbone = _dense_config(student.backbone, student.source)
    head = student.config.model.head
    state = student.state
    neck: Any = POOLING
    if backbone['type'] == 'ConvNeXt':
        # It averages itself, before its last norm. The maps of the inner
        # stages have norms that no classifier has.
        neck = None
        inner = tuple(f'backbone.norm{stage}.' for stage in range(3))
        state = {k: v for k, v in state.items() if not k.startswith(inner)}
    model = dict(
        type='ImageClassifier',
        backbone=backbone,
        neck=neck,
        head=head and {k: head[k] for k in _HEAD_OPTIONS if k in head},
    )
    model['data_preprocessor'] = student.config.model.data_preprocessor
    loader = copy.deepcopy(student.config.test_dataloader)
    # The file is one for the library alone.
    loader.dataset.type = 'CustomDataset'
    config = dict(
        default_scope='mmpretrain', model=model, test_dataloader=loader
    )
    return Student(student.source, Config(config), state, student.classes)


def outputs(model: Any, images: Tensor) -> dict[str, Tensor]:
    """Embedding of :meth:`Student.build`'s model, and logits of its head."""
    with torch.no_grad():
        features = model.extract_feat(images)
        result = {'embedding': features[-1]}
        if model.head is not None:
            result['logits'] = model.head(features)
    return result


def _dense_config(backbone: Mapping[str, Any], source: str) -> dict[str, Any]:
    if isinstance(backbone.get('network'), Mapping):
        return _made_sparse(backbone['network'])
    family = type_name(backbone['type']).removeprefix('Sparse')
    if family not in LAST_STAGE:
        raise ConfigError(
            f'{source}: the student is a {backbone["type"]}; converted are '
            f'{", ".join(LAST_STAGE)}, their sparse forms, and the networks '
            'of SparseNetwork'
        )
    options = {k: v for k, v in backbone.items() if k not in _NO_EFFECT}
    norm = options.pop('norm_cfg', None)
    if norm is not None:
        plain = 'BN' in norm['type'] or 'BatchNorm' in norm['type']
        options['norm_cfg'] = {**norm, 'type': 'BN'} if plain else norm
    options['type'] = family
    if stage := LAST_STAGE[family]:
        options['out_indices'] = list(stage)
    if family == 'ConvNeXt':
        options['gap_before_final_norm'] = True
    return options


def _made_sparse(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network that ``SparseNetwork`` has made sparse."""
    options = dict(network)
    options['type'] = options['type'].removeprefix('mmpretrain.')
    return options
