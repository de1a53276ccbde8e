"""CNNs that other projects have pre-trained, in mmpretrain's words."""

import re
from typing import Any

from mmpretrain.models import ConvNeXt, ResNet

from mmhgkd.utils import ConfigError

from .student import State, strip

SPARK_PREFIX = 'sparse_encoder.sp_cnn.'
_CONVNEXT_NAMES = (
    (r'\.dwconv\.', '.depthwise_conv.'),
    (r'\.pwconv([12])\.', r'.pointwise_conv\1.'),
    (r'^norm\.', 'norm3.'),
)


def find_cnn(state: State, source: str) -> tuple[dict[str, Any], State] | None:
    """Find the encoder of SparK in a checkpoint.

    SparK writes it twice: with its decoder, under ``SPARK_PREFIX``, and
    alone, without a prefix. Its ResNet is timm's, its ConvNeXt the official
    one.

    Args:
        state (dict[str, Tensor]): State dict of the checkpoint.
        source (str): The checkpoint, for error messages.

    Returns:
        tuple[dict, dict[str, Tensor]]: Config and state dict of mmpretrain's
        network; None if it is no checkpoint of SparK.

    Raises:
        ConfigError: If mmpretrain has no such network.
    """
    state = strip(state, SPARK_PREFIX) or state
    state = {
        key: value
        for key, value in state.items()
        if not key.startswith(('fc.', 'head.'))
    }
    if 'layer1.0.conv1.weight' in state:
        return _resnet(state, source), state
    if 'stages.0.0.dwconv.weight' in state:
        renamed = {}
        for key, value in state.items():
            for pattern, replacement in _CONVNEXT_NAMES:
                key = re.sub(pattern, replacement, key)
            renamed[key] = value
        return _convnext(renamed), renamed
    return None


def _resnet(state: State, source: str) -> dict[str, Any]:
    blocks = tuple(_count(state, rf'layer{i}\.(\d+)\.') for i in (1, 2, 3, 4))
    bottleneck = 'layer1.0.conv3.weight' in state
    for depth, (_, stages) in ResNet.arch_settings.items():
        if stages == blocks and bottleneck == (depth >= 50):
            return dict(type='ResNet', depth=depth)
    raise ConfigError(f'{source}: mmpretrain has no ResNet of {blocks} blocks')


def _convnext(state: State) -> dict[str, Any]:
    found = dict(
        depths=[_count(state, rf'stages\.{i}\.(\d+)\.') for i in range(4)],
        channels=[
            len(state[f'stages.{i}.0.depthwise_conv.weight']) for i in range(4)
        ],
    )
    names = [
        name for name, arch in ConvNeXt.arch_settings.items() if arch == found
    ]
    backbone = dict(type='ConvNeXt', arch=names[0] if names else found)
    if 'stages.0.0.gamma' not in state:
        backbone['layer_scale_init_value'] = 0.0
    return backbone


def _count(state: State, pattern: str) -> int:
    matches = (re.match(pattern, key) for key in state)
    return len({found[1] for found in matches if found})
