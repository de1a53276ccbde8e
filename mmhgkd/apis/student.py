import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel
from mmpretrain import get_model

from mmhgkd.catalog import STUDENTS, student_name
from mmhgkd.transfer.converters import read_student, student_config

from .configs import find_config


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
    backbone = {**STUDENTS[student_name(name)], **options}
    model = get_model(
        student_config(dict(model=dict(type='HGKD', backbone=backbone)))
    )
    model.init_weights()
    return model


def load_student(
    checkpoint: str | os.PathLike,
    config: str | Path | Mapping[str, Any] | None = None,
) -> BaseModel:
    """Load the student of a distillation or a downstream checkpoint.

    No code of the checkpoint is run.

    Args:
        checkpoint (str or PathLike): What :func:`distill` returns, or file
            or URL of a checkpoint of ``mmhgkd train``, or of a converted one.
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
    return read_student(os.fspath(checkpoint), config).build()
