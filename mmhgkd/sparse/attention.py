"""Attention beside convolutions, over the visible positions of an image.

These layers of timm look at neighbors and mix all positions as well. Here the
convolutions are those of sparse maps, and what mixes all positions has the
visible ones only.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .map_layers import run_children
from .sparse_feature import NoSparseForm
from .sparse_map import SparseMap

__all__ = [
    'conv_attention',
    'hidden_state_mixer',
    'multi_query_attention',
    'multi_scale_linear_attention',
    'split_transpose',
]


def conv_attention(x: SparseMap, module: Any) -> SparseMap:
    """``ConvAttention`` of LowFormer and CPUBone, at a larger stride.

    Args:
        x (SparseMap): The map.
        module (nn.Module): The layer.
    """
    y = run_children(x, module.conv_proj)
    y = run_children(y, module.pwise)
    query, key, value = _heads(y.positions(), module.num_heads).chunk(3, -1)
    mixed = F.scaled_dot_product_attention(query, key, value)
    y = run_children(y.with_positions(_joined(mixed)), module.o_proj)
    return run_children(y, module.upsampling)


def multi_query_attention(x: SparseMap, module: Any) -> SparseMap:
    """``MultiQueryAttention2d`` of timm, whose keys may have a stride.

    Args:
        x (SparseMap): The map.
        module (nn.Module): The layer.

    Raises:
        NoSparseForm: If the queries have a stride, too.
    """
    if module.has_query_strides:
        raise NoSparseForm(
            'queries with a stride have no sparse form: what they find is '
            'resized by `bilinear`'
        )
    query = run_children(x, module.query)
    key = run_children(x, module.key).positions()
    value = run_children(x, module.value).positions()
    mixed = F.scaled_dot_product_attention(
        _heads(query.positions(), module.num_heads),
        key[:, None],
        value[:, None],
        dropout_p=module.attn_drop.p if module.training else 0.0,
    )
    return run_children(query.with_positions(_joined(mixed)), module.output)


def multi_scale_linear_attention(x: SparseMap, module: Any) -> SparseMap:
    """``LiteMLA`` of EfficientViT.

    Args:
        x (SparseMap): The map.
        module (nn.Module): The layer.
    """
    scales = [run_children(x, module.qkv)]
    scales += [run_children(scales[0], layer) for layer in module.aggreg]
    values = torch.cat([scale.positions() for scale in scales], -1)
    heads = values.size(-1) // (3 * module.dim)
    query, key, value = _heads(values, heads).chunk(3, -1)
    query, key = module.kernel_func(query), module.kernel_func(key)
    value = F.pad(value, (0, 1), value=1.0)
    # Sums over all positions are computed in float32, as in the layer.
    with torch.autocast(value.device.type, enabled=False):
        mixed = module._attn(query, key, value)
    return run_children(x.with_positions(_joined(mixed)), module.proj)


def hidden_state_mixer(x: SparseMap, module: Any) -> tuple[SparseMap, Tensor]:
    """``HSMSSD`` of EfficientViM, whose states the visible positions weight.

    Args:
        x (SparseMap): The map.
        module (nn.Module): The layer.

    Returns:
        tuple[SparseMap, Tensor]: The map, and the states ``(B, C, S)``.
    """
    tokens = x.positions().transpose(1, 2)
    mixed = x.with_positions(module.BCdt_proj(tokens).transpose(1, 2))
    mixed = run_children(mixed, module.dw)
    b, c, dt = mixed.positions().transpose(1, 2).chunk(3, 1)
    a = (dt + module.A.view(1, -1, 1)).softmax(-1)
    states = tokens @ (a * b).transpose(1, 2)
    states, gate = module.hz_proj(states).chunk(2, 1)
    states = states * module.act(gate) + states * module.D
    states = module.out_proj(states)
    return x.with_positions((states @ c).transpose(1, 2)), states


def split_transpose(x: SparseMap, module: Any) -> SparseMap:
    """``SplitTransposeBlock`` of EdgeNeXt.

    Its attention is one of channels, whose similarity sums over positions.
    Positions are encoded by their place in the whole image.

    Args:
        x (SparseMap): The map.
        module (nn.Module): The layer.
    """
    parts = x.positions().chunk(len(module.convs) + 1, -1)
    part, scales = x.with_positions(parts[0]), []
    for index, conv in enumerate(module.convs):
        if index:
            part = part.with_positions(part.positions() + parts[index])
        part = run_children(part, conv)
        scales.append(part.positions())
    values = torch.cat([*scales, parts[-1]], -1)
    if module.pos_embd is not None:
        places = module.pos_embd((1, *x.shape[2:]))
        values = values + x.operand(places)
    mixed = module.gamma_xca * module.xca(module.norm_xca(values))
    values = values + module.drop_path(mixed)
    values = module.mlp(module.norm(values))
    if module.gamma is not None:
        values = module.gamma * values
    return x.with_positions(x.positions() + module.drop_path(values))


def _heads(values: Tensor, heads: int) -> Tensor:
    """From ``(B, P, heads * C)`` to ``(B, heads, P, C)``."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(values: Tensor) -> Tensor:
    """From ``(B, heads, P, C)`` to ``(B, P, heads * C)``."""
    return values.transpose(1, 2).flatten(2)
