"""Networks that other projects have pre-trained, in mmpretrain's words."""

import math
import re
from typing import Any

from mmpretrain.models import ConvNeXt, ResNet
from mmpretrain.registry import MODELS

from mmhgkd.teachers.checkpoint import (
    MMPRETRAIN_NAMES,
    State,
    load_weights,
    rename,
    strip_prefix,
)
from mmhgkd.utils import ConfigError

SPARK_PREFIX = 'sparse_encoder.sp_cnn.'
_CONVNEXT_NAMES = (
    (r'\.dwconv\.', '.depthwise_conv.'),
    (r'\.pwconv([12])\.', r'.pointwise_conv\1.'),
    (r'^norm\.', 'norm3.'),
)
#: Heads, by width and depth. The weights do not tell them.
HEADS = {
    (192, 12): 3,
    (384, 12): 6,
    (768, 12): 12,
    (1024, 24): 16,
    (1280, 32): 16,
}
_TABLE = 'relative_position_bias_table'


def find_cnn(state: State, source: str) -> tuple[dict[str, Any], State] | None:
    """Find the encoder of SparK: config and weights of mmpretrain's network.

    SparK writes it twice: with its decoder, under ``SPARK_PREFIX``, and
    alone, without a prefix. Its ResNet is timm's, its ConvNeXt the official
    one. The result is None if it is no checkpoint of SparK.
    """
    state = strip_prefix(state, SPARK_PREFIX) or state
    heads = ('fc.', 'head.')
    state = {k: v for k, v in state.items() if not k.startswith(heads)}
    if 'layer1.0.conv1.weight' in state:
        return _resnet(state, source), state
    if 'stages.0.0.dwconv.weight' in state:
        renamed = {rename(k, _CONVNEXT_NAMES): v for k, v in state.items()}
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
    names = [n for n, arch in ConvNeXt.arch_settings.items() if arch == found]
    backbone = dict(type='ConvNeXt', arch=names[0] if names else found)
    if 'stages.0.0.gamma' not in state:
        backbone['layer_scale_init_value'] = 0.0
    return backbone


def _count(state: State, pattern: str) -> int:
    matches = (re.match(pattern, key) for key in state)
    return len({found[1] for found in matches if found})


def find_vit(
    state: State, source: str, num_heads: int | None = None
) -> tuple[dict[str, Any], State] | None:
    """Find the encoder of MAE or BEiT, as :func:`find_cnn` does that of SparK.

    ``num_heads`` of None are those of the published sizes.
    """
    projection = state.get('patch_embed.proj.weight')
    if projection is None:
        return None
    width, patch = projection.size(0), projection.size(-1)
    depth = len({k.split('.')[1] for k in state if k.startswith('blocks.')})
    heads = num_heads or HEADS.get((width, depth))
    if heads is None:
        raise ConfigError(
            f'{source}: a ViT of width {width} and depth '
            f'{depth} is none of the published ones; give its '
            'number of heads (--num-heads)'
        )
    backbone: dict[str, Any] = dict(
        arch=dict(
            embed_dims=width,
            num_layers=depth,
            num_heads=heads,
            feedforward_channels=len(state['blocks.0.mlp.fc1.weight']),
        ),
        patch_size=patch,
    )
    tables = [key for key in state if key.endswith(_TABLE)]
    if tables:
        shared = tables == [f'rel_pos_bias.{_TABLE}']
        # A table has a row for each distance, and three for the class token.
        side = (math.isqrt(len(state[tables[0]]) - 3) + 1) // 2
        backbone.update(
            type='BEiTPretrainViT',
            use_shared_rel_pos_bias=shared,
            use_rel_pos_bias=not shared,
        )
    else:
        side = math.isqrt(state['pos_embed'].size(1) - 1)
        backbone.update(type='MAEViT')
    backbone['img_size'] = side * patch
    network = MODELS.build({'_scope_': 'mmpretrain', **backbone})
    load_weights(network, source, MMPRETRAIN_NAMES)
    unread = re.compile(r'mask_token|.*relative_position_index')
    return backbone, {
        key: value
        for key, value in network.state_dict().items()
        if not unread.fullmatch(key)
    }
