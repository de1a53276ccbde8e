"""The layouts of Hugging Face's transformers."""

import re

import torch
from torch import Tensor

_PATCHES = 'embeddings.patch_embeddings.projection.weight'
_NAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r'^(vit|dinov2|dinov2_with_registers)\.', ''),
        (r'^embeddings\.', ''),
        (r'^position_embeddings$', 'pos_embed'),
        (r'^patch_embeddings\.projection\.', 'patch_embed.proj.'),
        (r'^encoder\.layer\.', 'blocks.'),
        (r'\.attention\.output\.dense\.', '.attn.proj.'),
        (r'\.intermediate\.dense\.', '.mlp.fc1.'),
        (r'\.output\.dense\.', '.mlp.fc2.'),
        (r'\.layernorm_before\.', '.norm1.'),
        (r'\.layernorm_after\.', '.norm2.'),
        (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
        (r'\.mlp\.weights_in\.', '.mlp.w12.'),
        (r'\.mlp\.weights_out\.', '.mlp.w3.'),
        (r'^layernorm\.', 'norm.'),
        (r'^classifier\.', 'head.'),
    )
)
_UNUSED = re.compile(r'^(decoder|pooler)\.')
_QUERY = '.attention.attention.query.'


def from_huggingface(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of ViTMAE and DINOv2 to the authors' names.

    Query, key and value, which are layers of their own there, become one.
    Weights of another layout are returned as they are.
    """
    if not any(key.endswith(_PATCHES) for key in state):
        return state
    found = {}
    for key, value in state.items():
        if _QUERY in key:
            names = [
                key.replace('.query.', f'.{name}.')
                for name in ('query', 'key', 'value')
            ]
            if all(name in state for name in names):
                value = torch.cat([state[name] for name in names])
                key = key.replace(_QUERY, '.attn.qkv.')
        elif key.replace('.key.', '.query.').replace(
            '.value.', '.query.'
        ) in state and re.search(r'\.attention\.(key|value)\.', key):
            continue
        for pattern, replacement in _NAMES:
            key = pattern.sub(replacement, key)
        if not _UNUSED.match(key):
            found[key] = value
    return found
