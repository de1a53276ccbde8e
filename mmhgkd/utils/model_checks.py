"""Checks of the settings of a model, for :mod:`run_checks`."""

from collections.abc import Mapping, Sequence
from typing import Any

from .config_options import find_key
from .errors import ConfigError, one_of
from .find_type import type_name
from .value_checks import check_part, is_number


def check_model(cfg: Mapping[str, Any]) -> None:
    """The parts of the model, and what its constructors do not look at.

    Args:
        cfg (Mapping[str, Any]): The config.

    Raises:
        ConfigError: It names the setting.
    """
    model = cfg.get('model') or {}
    distills = type_name(model.get('type')) == 'HGKD'
    for name in ('backbone', 'teacher', 'head') if distills else ('backbone',):
        if name in model:
            check_part(f'model.{name}', model[name])
        elif distills:
            raise ConfigError(f'the model has no `{name}`; set `model.{name}`')
    for path, part in find_key(model, 'init_cfg', 'model'):
        if isinstance(part['init_cfg'], (str, int, float)):
            raise ConfigError(
                f'`{path}` must be a dict such as dict(type='
                f"'Pretrained', checkpoint=FILE), got {part['init_cfg']!r}"
            )
    backbone = model.get('backbone')
    if not isinstance(backbone, Mapping):
        return
    rate = backbone.get('drop_path_rate')
    if rate is not None and not (is_number(rate) and 0 <= rate < 1):
        raise ConfigError(
            f'`model.backbone.drop_path_rate` must lie in [0, 1), got {rate!r}'
        )
    if 'style' in backbone and 'ResNe' in str(backbone['type']):
        one_of(
            '`model.backbone.style`', backbone['style'], ('pytorch', 'caffe')
        )
    norm = {
        **(cfg.get('data_preprocessor') or {}),
        **(model.get('data_preprocessor') or {}),
    }
    std = norm.get('std')
    if isinstance(std, Sequence) and not all(
        is_number(value) and value > 0 for value in std
    ):
        raise ConfigError(
            f'`data_preprocessor.std` must be positive numbers, got {std!r}'
        )
    channels, mean = backbone.get('in_channels', 3), norm.get('mean')
    if isinstance(mean, Sequence) and len(mean) == 3 and channels != 3:
        raise ConfigError(
            f'`model.backbone.in_channels` is {channels!r}, but the images '
            'have the 3 channels of `data_preprocessor.mean`; set '
            '`model.backbone.in_channels=3`'
        )
