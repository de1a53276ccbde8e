"""Tiny official checkpoints, and what they compute, written out in fp64."""

import torch
import torch.nn.functional as F
from torch import Tensor

EMBED_DIMS, NUM_HEADS, NUM_LAYERS, PATCH = 24, 3, 3, 8
State = dict[str, Tensor]


def arch() -> dict:
    """Architecture in mmpretrain's words."""
    return dict(
        embed_dims=EMBED_DIMS,
        num_layers=NUM_LAYERS,
        num_heads=NUM_HEADS,
        feedforward_channels=4 * EMBED_DIMS,
    )


def timm_args(**kwargs: object) -> dict:
    """Architecture in timm's words."""
    return dict(
        patch_size=PATCH,
        embed_dim=EMBED_DIMS,
        depth=NUM_LAYERS,
        num_heads=NUM_HEADS,
        **kwargs,
    )


def mae_state(rows: int, columns: int) -> State:
    """Weights in the layout of facebookresearch/mae, with its decoder."""
    state = _encoder_state()
    for i in range(NUM_LAYERS):
        state[f'blocks.{i}.attn.qkv.bias'] = _random(3 * EMBED_DIMS)
    state['pos_embed'] = _random(1, 1 + rows * columns, EMBED_DIMS)
    for key, shape in {
        'decoder_pos_embed': (1, 1 + rows * columns, 16),
        'decoder_embed.weight': (16, EMBED_DIMS),
        'decoder_blocks.0.norm1.weight': (16,),
        'decoder_norm.weight': (16,),
        'decoder_pred.bias': (3 * PATCH**2,),
    }.items():
        state[key] = _random(*shape)
    return state


def beit_state(rows: int, columns: int, shared: bool) -> State:
    """Weights in the layout of unilm's BEiT, before or after fine-tuning."""
    state = _encoder_state()
    num_distances = (2 * rows - 1) * (2 * columns - 1) + 3
    for i in range(NUM_LAYERS):
        block = f'blocks.{i}.'
        for name in ('gamma_1', 'gamma_2', 'attn.q_bias', 'attn.v_bias'):
            state[block + name] = _random(EMBED_DIMS)
        if not shared:
            state[block + 'attn.relative_position_bias_table'] = _random(
                num_distances, NUM_HEADS
            )
    if shared:
        state['rel_pos_bias.relative_position_bias_table'] = _random(
            num_distances, NUM_HEADS
        )
        state['rel_pos_bias.relative_position_index'] = _relative_index(
            rows, columns
        )
    state['lm_head.weight'] = _random(32, EMBED_DIMS)
    return state


def reference_tokens(
    state: State,
    images: Tensor,
    visible: Tensor | None = None,
    num_layers: int = NUM_LAYERS,
) -> Tensor:
    """Patch tokens by the official keys, with the norm after the last block.

    Args:
        state (dict[str, Tensor]): Weights in an official layout.
        images (Tensor): ``(B, 3, H, W)`` fp64.
        visible (Tensor, optional): Patches that go in, ``(V, )``, the same
            ones for every image.
        num_layers (int): Number of blocks to run.
    """
    weights = {
        key: value.double() if value.is_floating_point() else value
        for key, value in state.items()
    }
    rows, columns = images.size(2) // PATCH, images.size(3) // PATCH
    kernel = weights['patch_embed.proj.weight'].flatten(1)
    patches = []
    for row in range(rows):
        for column in range(columns):
            patch = images[
                :,
                :,
                row * PATCH : (row + 1) * PATCH,
                column * PATCH : (column + 1) * PATCH,
            ]
            patches.append(
                patch.flatten(1) @ kernel.T + weights['patch_embed.proj.bias']
            )
    x = torch.stack(patches, dim=1)
    cls_token = weights['cls_token'].expand(len(x), -1, -1)
    if 'pos_embed' in weights:
        x = x + weights['pos_embed'][:, 1:]
        cls_token = cls_token + weights['pos_embed'][:, :1]
    if visible is not None:
        x = x[:, visible]
    x = torch.cat([cls_token, x], dim=1)
    for i in range(num_layers):
        x = _block(weights, f'blocks.{i}.', x, rows, columns)
    if num_layers == NUM_LAYERS:
        x = _norm(weights, 'norm', x)
    return x[:, 1:]


def _block(
    weights: State, block: str, x: Tensor, rows: int, columns: int
) -> Tensor:
    dims = x.size(2)
    bias = weights.get(block + 'attn.qkv.bias')
    if bias is None:
        q_bias = weights[block + 'attn.q_bias']
        bias = torch.cat(
            [q_bias, torch.zeros_like(q_bias), weights[block + 'attn.v_bias']]
        )
    qkv = F.linear(
        _norm(weights, block + 'norm1', x),
        weights[block + 'attn.qkv.weight'],
        bias,
    )
    head_dims = dims // NUM_HEADS
    heads = []
    for head in range(NUM_HEADS):
        q, k, v = (
            part[..., head * head_dims : (head + 1) * head_dims]
            for part in qkv.split(dims, dim=-1)
        )
        logits = q @ k.transpose(1, 2) / head_dims**0.5
        for table in (
            block + 'attn.relative_position_bias_table',
            'rel_pos_bias.relative_position_bias_table',
        ):
            if table in weights:
                index = _relative_index(rows, columns)
                logits = logits + weights[table][index, head]
        heads.append(logits.softmax(-1) @ v)
    out = F.linear(
        torch.cat(heads, dim=-1),
        weights[block + 'attn.proj.weight'],
        weights[block + 'attn.proj.bias'],
    )
    x = x + weights.get(block + 'gamma_1', 1) * out
    out = F.linear(
        _norm(weights, block + 'norm2', x),
        weights[block + 'mlp.fc1.weight'],
        weights[block + 'mlp.fc1.bias'],
    )
    out = F.linear(
        F.gelu(out),
        weights[block + 'mlp.fc2.weight'],
        weights[block + 'mlp.fc2.bias'],
    )
    return x + weights.get(block + 'gamma_2', 1) * out


def _norm(weights: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(
        x,
        (EMBED_DIMS,),
        weights[name + '.weight'],
        weights[name + '.bias'],
        1e-6,
    )


def _relative_index(rows: int, columns: int) -> Tensor:
    """Entry of the bias table for each pair of tokens, CLS first."""
    places = [(y, x) for y in range(rows) for x in range(columns)]
    last = (2 * rows - 1) * (2 * columns - 1) + 2
    index = torch.full((1 + len(places), 1 + len(places)), last)
    for i, (y, x) in enumerate(places, 1):
        index[0, i], index[i, 0] = last - 2, last - 1
        for j, (other_y, other_x) in enumerate(places, 1):
            index[i, j] = (
                (y - other_y + rows - 1) * (2 * columns - 1)
                + x
                - other_x
                + columns
                - 1
            )
    return index


def _encoder_state() -> State:
    dims = EMBED_DIMS
    state = {
        'cls_token': _random(1, 1, dims),
        'mask_token': _random(1, 1, dims),
        'patch_embed.proj.weight': _random(dims, 3, PATCH, PATCH),
        'patch_embed.proj.bias': _random(dims),
        'norm.weight': 1 + _random(dims),
        'norm.bias': _random(dims),
    }
    for i in range(NUM_LAYERS):
        for key, shape in {
            'norm1.bias': (dims,),
            'attn.qkv.weight': (3 * dims, dims),
            'attn.proj.weight': (dims, dims),
            'attn.proj.bias': (dims,),
            'norm2.bias': (dims,),
            'mlp.fc1.weight': (4 * dims, dims),
            'mlp.fc1.bias': (4 * dims,),
            'mlp.fc2.weight': (dims, 4 * dims),
            'mlp.fc2.bias': (dims,),
        }.items():
            state[f'blocks.{i}.{key}'] = _random(*shape)
        for key in ('norm1.weight', 'norm2.weight'):
            state[f'blocks.{i}.{key}'] = 1 + _random(dims)
    return state


def _random(*shape: int) -> Tensor:
    return 0.3 * torch.randn(shape)
