from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel
from mmpretrain import get_model

from mmhgkd.transfer.converters import read_student, student_config
from mmhgkd.utils import ConfigError

from .configs import find_config

STUDENTS: dict[str, dict[str, Any]] = {
    **{
        f'resnet{depth}': dict(type='mmhgkd.SparseResNet', depth=depth)
        for depth in (18, 34, 50, 101, 152)
    },
    **{
        f'convnext_{arch}': dict(type='mmhgkd.SparseConvNeXt', arch=arch)
        for arch in ('atto', 'femto', 'pico', 'nano', 'tiny', 'small', 'base')
    },
    **{
        f'convnextv2_{arch}': dict(
            type='mmhgkd.SparseConvNeXt',
            arch=arch,
            use_grn=True,
            layer_scale_init_value=0.0,
        )
        for arch in ('atto', 'femto', 'pico', 'nano', 'tiny', 'base')
    },
    'mobilenet_v2': dict(type='mmhgkd.SparseMobileNetV2'),
    'mobilenet_v3_small': dict(type='mmhgkd.SparseMobileNetV3', arch='small'),
    'mobilenet_v3_large': dict(type='mmhgkd.SparseMobileNetV3', arch='large'),
    'efficientnet_b0': dict(type='mmhgkd.SparseEfficientNet', arch='b0'),
}
"""Config of the backbone of each student."""


def build_student(name: str, **options: Any) -> BaseModel:
    """Build a student with random weights.

    Args:
        name (str): A key of ``STUDENTS``, such as 'resnet18'.
        **options: Further options of its backbone, such as ``backend``.

    Returns:
        BaseModel: mmpretrain's ``ImageClassifier`` without a head, in eval
        mode. Its ``backbone`` takes images, and a mask if need be; its
        ``extract_feat`` gives the mean of the maps of each stage.

    Raises:
        ConfigError: If there is no such student.
    """
    if name not in STUDENTS:
        raise ConfigError(
            f'there is no student {name!r}; the students are '
            f'{", ".join(STUDENTS)}'
        )
    backbone = {**STUDENTS[name], **options}
    model = get_model(
        student_config(dict(model=dict(type='HGKD', backbone=backbone)))
    )
    model.init_weights()
    return model


def load_student(
    checkpoint: str | Path,
    config: str | Path | Mapping[str, Any] | None = None,
) -> BaseModel:
    """Load the student of a distillation or a downstream checkpoint.

    No code of the checkpoint is run.

    Args:
        checkpoint (str or Path): File or URL of a checkpoint of
            ``tools/train.py``, or of a converted one.
        config (str or Path or Mapping, optional): Config of the training,
            its file, or its name, such as 'hgkd/r50_mae'. Defaults to None,
            which means the config that the checkpoint holds.

    Returns:
        BaseModel: As :func:`build_student`, with the head of a classifier
        where the checkpoint is one.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If it holds no student, or not that of the config.
    """
    if isinstance(config, (str, Path)):
        return load_student(checkpoint, find_config(config))
    return read_student(str(checkpoint), config).build()
