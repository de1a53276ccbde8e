"""Names of the layers of MobileNetV2, MobileNetV3 and EfficientNet."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# mmpretrain's names: MobileNetV2, MobileNetV3, EfficientNet.
_STEM = r'conv1|layer0|layers\.0'
_BLOCK = r'layer\d+\.\d+\.conv|layer\d+|layers\.\d+\.\d+'
_PART = r'\d|expand_conv|depthwise_conv|se\.conv1|se\.conv2|linear_conv'
_STEM_KEY = re.compile(rf'(?P<where>{_STEM})\.(?P<leaf>(conv|bn)\..+)')
_BLOCK_KEY = re.compile(
    rf'(?P<where>{_BLOCK})\.(?P<part>{_PART})\.(?P<leaf>(conv|bn)\..+)'
)


class Layer(NamedTuple):
    """A convolution and its norm.

    Args:
        block (int): Number of the block; -1 for the stem.
        part (str): 'stem', 'last', 'expand', 'depthwise', 'squeeze',
            'excite' or 'project'.
    """

    block: int
    part: str


def find_layers(keys: Iterable[str]) -> dict[str, tuple[Layer, str]]:
    """Find the layer of each key.

    Args:
        keys (Iterable[str]): State dict of mmpretrain's network, in order.

    Returns:
        dict[str, tuple[Layer, str]]: For each key the layer and the rest of
        the name, such as 'conv.weight' or 'bn.running_mean'.
    """
    blocks: dict[str, list[str]] = {}
    rows = []
    for key in keys:
        found = _BLOCK_KEY.fullmatch(key)
        if found:
            parts = blocks.setdefault(found['where'], [])
            if found['part'] not in parts:
                parts.append(found['part'])
        rows.append((key, found))
    order = list(blocks)
    layers = {}
    for key, found in rows:
        if found:
            where, part = found['where'], found['part']
            layer = Layer(order.index(where), _name(part, blocks[where]))
            layers[key] = (layer, found['leaf'])
        elif stem := _STEM_KEY.fullmatch(key):
            layers[key] = (Layer(-1, 'stem'), stem['leaf'])
        else:
            leaf = '.'.join(key.split('.')[-2:])
            layers[key] = (Layer(len(order), 'last'), leaf)
    return layers


def _name(part: str, parts: Sequence[str]) -> str:
    if part.isdigit():
        return ('expand', 'depthwise', 'project')[int(part) + 3 - len(parts)]
    return dict(
        expand_conv='expand', depthwise_conv='depthwise', linear_conv='project'
    ).get(part, 'squeeze' if part == 'se.conv1' else 'excite')


def timm_names(keys: Sequence[str], stages: Sequence[int]) -> dict[str, str]:
    """Names in timm's MobileNetV3 and EfficientNet, for mmpretrain's.

    Args:
        keys (Sequence[str]): State dict of mmpretrain's network, in order.
        stages (Sequence[int]): Blocks in each stage of timm's network.

    Returns:
        dict[str, str]: The new name of each key.
    """
    layers = find_layers(keys)
    places = [(s, b) for s, count in enumerate(stages) for b in range(count)]
    expanded = {x.block for x, _ in layers.values() if x.part == 'expand'}
    names = {}
    for key, (layer, leaf) in layers.items():
        if layer.part == 'stem':
            conv, norm, where = 'conv_stem', 'bn1', ''
        elif layer.part == 'last' and len(places) > layer.block:
            # MobileNetV3 counts it as a block.
            conv, norm = 'conv', 'bn1'
            where = 'blocks.{}.{}.'.format(*places[layer.block])
        elif layer.part == 'last':
            conv, norm, where = 'conv_head', 'bn2', ''
        else:
            conv, norm = _timm_layer(layer, layer.block in expanded)
            where = 'blocks.{}.{}.'.format(*places[layer.block])
        kind, _, tensor = leaf.partition('.')
        names[key] = f'{where}{conv if kind == "conv" else norm}.{tensor}'
    return names


def _timm_layer(layer: Layer, expanded: bool) -> tuple[str, str]:
    if layer.part == 'squeeze':
        return 'se.conv_reduce', ''
    if layer.part == 'excite':
        return 'se.conv_expand', ''
    if expanded:
        return {
            'expand': ('conv_pw', 'bn1'),
            'depthwise': ('conv_dw', 'bn2'),
            'project': ('conv_pwl', 'bn3'),
        }[layer.part]
    return {'depthwise': ('conv_dw', 'bn1'), 'project': ('conv_pw', 'bn2')}[
        layer.part
    ]


def torchvision_names(keys: Sequence[str], block: str) -> dict[str, str]:
    """Names in torchvision's MobileNetV2 and V3, for mmpretrain's.

    Args:
        keys (Sequence[str]): State dict of mmpretrain's network, in order.
        block (str): Name of the layers in a block: 'conv' in MobileNetV2,
            whose last norm stands by itself, 'block' in MobileNetV3.

    Returns:
        dict[str, str]: The new name of each key.
    """
    layers = find_layers(keys)
    parts: dict[int, list[str]] = {}
    for layer, _ in layers.values():
        # Both layers of squeeze-excite are one step.
        part = 'squeeze' if layer.part == 'excite' else layer.part
        found = parts.setdefault(layer.block, [])
        if part not in found:
            found.append(part)
    # torchvision runs squeeze-excite before the projection.
    order = ('expand', 'depthwise', 'squeeze', 'project', 'stem', 'last')
    names = {}
    for key, (layer, leaf) in layers.items():
        where = f'features.{layer.block + 1}'
        kind, _, tensor = leaf.partition('.')
        index = '0' if kind == 'conv' else '1'
        if layer.part in ('stem', 'last'):
            names[key] = f'{where}.{index}.{tensor}'
            continue
        part = 'squeeze' if layer.part == 'excite' else layer.part
        step = sorted(parts[layer.block], key=order.index).index(part)
        if part == 'squeeze':
            fc = 'fc1' if layer.part == 'squeeze' else 'fc2'
            tail = f'{step}.{fc}'
        elif part == 'project' and block == 'conv':
            tail = str(step + int(index))
        else:
            tail = f'{step}.{index}'
        names[key] = f'{where}.{block}.{tail}.{tensor}'
    return names
