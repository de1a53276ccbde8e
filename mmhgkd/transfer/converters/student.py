"""Which student a checkpoint holds, as a model of mmpretrain."""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain import get_model

from mmhgkd.teachers.base_teacher import IMAGENET_MEAN, IMAGENET_STD
from mmhgkd.teachers.checkpoint import (
    State,
    find_differences,
    read_checkpoint,
    read_state_dict,
    strip_prefix,
    summarize,
)
from mmhgkd.utils import ConfigError
from mmhgkd.utils.config_options import find_key
from mmhgkd.utils.find_type import type_name
from mmhgkd.utils.known_types import known_types
from mmhgkd.utils.loader_checks import LOADERS
from mmhgkd.utils.stored_config import parse_config

POOLING = dict(type='GlobalAveragePooling')
_IMAGENET = dict(mean=IMAGENET_MEAN, std=IMAGENET_STD, to_rgb=True)


@dataclass(frozen=True)
class Student:
    """The CNN of a checkpoint, alone."""

    source: str  #: the checkpoint
    config: Config  #: of :func:`student_config`
    state: State  #: state dict of its model
    classes: tuple[str, ...] = ()

    @property
    def backbone(self) -> dict[str, Any]:
        """Config of the network."""
        return self.config.model.backbone.to_dict()

    @property
    def weights(self) -> State:
        """State dict of the network."""
        return strip_prefix(self.state, 'backbone.')

    @property
    def family(self) -> str:
        """Type of the network."""
        return self.backbone['type']

    @property
    def channels(self) -> int:
        """Channels of its images."""
        return len(self.config.model.data_preprocessor.mean)

    @property
    def num_classes(self) -> int:
        """Classes of its head; 0 without one."""
        head = self.config.model.head
        return head.num_classes if head else 0

    def build(self) -> BaseModel:
        """Build the model with the weights, in eval mode."""
        try:
            with building_from(self.config):
                model = get_model(self.config)
        except ConfigError:
            raise
        except (TypeError, ValueError, AssertionError, KeyError) as error:
            raise ConfigError(
                f'{self.source}: mmpretrain has no {self.family} with the '
                f'options of this student ({error})'
            ) from error
        lines = summarize(find_differences(model.state_dict(), self.state))
        if lines:
            raise ConfigError(
                f'{self.source}: the student does not fit its config '
                f'({"; ".join(lines)}); give the config of the training'
            )
        model.load_state_dict(self.state)
        return model


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
    config, origin, classes = read_config(checkpoint, config)
    state = read_state_dict(checkpoint)
    found = student_config(config, f'{checkpoint}: its config')
    if origin is not None:
        found.origin = origin
    if not with_head:
        found.model.update(neck=POOLING, head=None)
    # Not the decoder and the losses of the distillation.
    parts = ('backbone.', 'neck.', 'head.')[: 3 if found.model.head else 1]
    kept = {k: v for k, v in state.items() if k.startswith(parts)}
    if not any(key.startswith('backbone.') for key in kept):
        raise ConfigError(
            f'{checkpoint} holds no key that starts with `backbone.`; give a '
            'checkpoint of tools/train.py'
        )
    check_finite(kept, checkpoint)
    return Student(checkpoint, found, kept, classes)


def check_finite(state: State, checkpoint: str) -> None:
    """Refuse weights that a training has ruined.

    Args:
        state (dict[str, Tensor]): The weights.
        checkpoint (str): Where they are from, for the message.

    Raises:
        ConfigError: If a value is not finite.
    """
    broken = [
        key
        for key, value in state.items()
        if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise ConfigError(
            f'{checkpoint}: {len(broken)} tensors are not finite, '
            f'{", ".join(broken[:3])}; take a checkpoint from before the '
            'training went wrong'
        )


def read_config(
    checkpoint: str, config: Mapping[str, Any] | None = None
) -> tuple[Mapping[str, Any], str | None, tuple[str, ...]]:
    """Config of the training of a checkpoint.

    Args:
        checkpoint (str): File or URL of a checkpoint of MMEngine.
        config (Mapping, optional): The config where it is known. Defaults to
            None, which means the one in the checkpoint.

    Returns:
        tuple[Mapping, str or None, tuple[str, ...]]: The config, the file
        that it was stored in or None, and the names of the classes.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If it holds no config.
    """
    content = read_checkpoint(checkpoint, 'checkpoint')
    meta = content.get('meta') if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        meta = {}
    if config is not None:
        return config, None, _classes(meta)
    text = meta.get('cfg')
    if not isinstance(text, str):
        raise ConfigError(
            f'{checkpoint}: holds no config, so its network is not '
            'known; give the config of the training'
        )
    return parse_config(text, checkpoint), checkpoint, _classes(meta)


def left_out_parts(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Parts of the model of a task that its student alone would lack.

    There are none of a classifier, whose head stays, and of a pre-training,
    of which the student is the result.
    """
    model = config.get('model')
    if not isinstance(model, Mapping):
        return ()
    scope, _, kind = str(model.get('type', '')).rpartition('.')
    scope = scope or config.get('default_scope') or 'mmpretrain'
    if scope in ('mmpretrain', 'mmhgkd') or kind == 'HGKD':
        return ()
    return tuple(
        name
        for name, part in model.items()
        if name.endswith(('neck', 'head')) and part
    )


def student_config(
    config: Mapping[str, Any], source: str = 'the config'
) -> Config:
    """Config of the student alone, as a model of mmpretrain.

    The model gives embeddings, without teacher, decoder and mask, and the
    scores of the classifier where the config has one. It works with
    mmpretrain's ``get_model``, ``FeatureExtractor`` and inferencers; the
    images' way into it is in ``test_dataloader``.

    Args:
        config (Mapping): Config of a distillation, or of a task of
            mmpretrain, mmdetection or mmsegmentation.
        source (str): What it is called in errors. Defaults to 'the config'.

    Raises:
        ConfigError: If the config has no backbone.
    """
    model = config.get('model')
    if not isinstance(model, Mapping) or not model.get('backbone'):
        raise ConfigError(
            f'{source} has no `model.backbone`; give that of a training of '
            'this project'
        )
    backbone = copy.deepcopy(dict(model['backbone']))
    forget_start_weights(backbone)
    neck: Any = POOLING
    head = None
    if type_name(model.get('type')) == 'ImageClassifier':
        head = model.get('head')
    if head:
        neck = model.get('neck')
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


def forget_start_weights(backbone: Mapping[str, Any]) -> None:
    """Let a backbone start from nothing: its weights lie in a checkpoint.

    Args:
        backbone (dict): Its config, which is changed.
    """
    for network in (backbone, backbone.get('network')):
        if isinstance(network, dict):
            network.pop('init_cfg', None)
            if 'pretrained' in network:
                network['pretrained'] = False


def building_from(config: Mapping[str, Any]) -> AbstractContextManager:
    """Build from a config of :func:`read_student`, within this context.

    Of one that was stored in a checkpoint, whose file is its ``origin``, only
    known types are built.
    """
    origin = config.get('origin')
    return nullcontext() if origin is None else known_types(origin)


def inference_dataloader(config: Mapping[str, Any]) -> dict[str, Any]:
    """The images' way into the model, in the words of mmpretrain.

    Its ``dataset.pipeline`` begins with mmpretrain's own loading of images,
    as its inferencers ask for that, or with the loading of all channels.
    """
    steps = None
    if config.get('default_scope') == 'mmpretrain':
        # The configs keep theirs where the evaluation is switched off.
        steps = config.get('eval_pipeline')
        if loader := config.get('test_dataloader'):
            steps = loader['dataset']['pipeline']
    if steps:
        pipeline = [dict(step) for step in steps[1:]]
    else:
        size = _train_size(config)
        side = round(size * 256 / 224)
        pipeline = [
            dict(
                type='ResizeEdge', scale=side, edge='short', backend='pillow'
            ),
            dict(type='CenterCrop', crop_size=size),
            dict(type='PackInputs'),
        ]
    loading = _loading(config)
    if 'bands' in loading:
        # Pillow resizes no ten channels, and takes the fourth for opacity.
        for step in pipeline:
            if step.get('backend') == 'pillow':
                step['backend'] = 'cv2'
    return dict(
        dataset=dict(
            type='mmhgkd.ImageFolder',
            data_root='',
            pipeline=[loading, *pipeline],
        )
    )


def _loading(config: Mapping[str, Any]) -> dict[str, Any]:
    for loader in LOADERS:
        for _, step in find_key(config.get(loader), 'bands', loader):
            if step['bands'] is not None:
                kept = ('bands', 'value_range')
                options = {name: step[name] for name in kept if name in step}
                return dict(type='mmhgkd.LoadImage', **options)
    return dict(type='LoadImageFromFile')


def _preprocessor(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        **(config.get('data_preprocessor') or {}),
        **(config['model'].get('data_preprocessor') or {}),
    }
    if 'bgr_to_rgb' in found:  # mmdetection's and mmsegmentation's word
        found['to_rgb'] = found['bgr_to_rgb']
    if 'bands' in _loading(config):
        # In the order of the file, whatever it means.
        return dict(
            type='ClsDataPreprocessor',
            mean=found['mean'],
            std=found['std'],
            to_rgb=found.get('to_rgb', False),
        )
    return dict(
        type='ClsDataPreprocessor',
        **{key: found.get(key, value) for key, value in _IMAGENET.items()},
    )


def _train_size(config: Mapping[str, Any]) -> int:
    """Side of the random crops of the training."""
    for step in config.get('train_pipeline') or []:
        scale = step.get('scale')
        kind = type_name(step['type'])
        if kind == 'RandomResizedCrop' and isinstance(scale, int):
            return scale
    return 224


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...]:
    found = meta.get('dataset_meta')
    classes = found.get('classes') if isinstance(found, Mapping) else None
    if not isinstance(classes, (list, tuple)):
        return ()
    is_text = all(isinstance(name, str) for name in classes)
    return tuple(classes) if is_text else ()
