"""Networks of timm as teachers: how they are built and loaded."""

import sys
from functools import partial
from typing import Any

import timm
import torch
from torch import nn

from mmhgkd.utils import ConfigError

from .checkpoint import TIMM_NAMES, State, load_weights
from .timm_stages import STAGED, resize_positions

# Of which a stem's stride is found; all strides divide it.
_PROBE = 256


def build_network(model_name: str, model_args: dict) -> Any:
    """Build a random model without head, for any image size if possible."""
    # Without pooling, timm keeps the norm of the patch tokens.
    model_args = {'num_classes': 0, 'global_pool': '', **model_args}
    try:
        try:
            # A Swin for any size would fill up its windows by zeros.
            network = timm.create_model(
                model_name,
                **{'dynamic_img_size': not _is_swin(model_name), **model_args},
            )
        except TypeError as error:
            if 'dynamic_img_size' not in str(error):
                raise
            network = timm.create_model(model_name, **model_args)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f'timm cannot build `teacher.model_name` {model_name!r} with '
            f'{model_args}: {error}'
        ) from error
    models = timm.models
    plain = (models.VisionTransformer, models.Beit, models.Eva)
    if not isinstance(network, (*plain, *STAGED)):
        raise ConfigError(
            f'`teacher.model_name` {model_name!r} is a '
            f'{type(network).__name__}; TimmTeacher takes the plain Vision '
            'Transformers of timm (VisionTransformer, Beit and Eva), Hiera '
            'and SwinTransformer'
        )
    return network


def _is_swin(model_name: str) -> bool:
    name = model_name.split('.')[0]
    return timm.models.is_model_in_modules(name, ['swin_transformer'])


def find_patch_size(network: Any) -> int:
    """Pixels between two tokens of a plain Vision Transformer.

    What timm calls the patch size of a network with a convolutional stem
    counts positions of the stem's map.

    Raises:
        ConfigError: If rows and columns differ.
    """
    embed = network.patch_embed
    size = tuple(embed.patch_size)
    if isinstance(embed, timm.layers.HybridEmbed):
        weight = next(embed.parameters())
        with torch.no_grad():
            images = weight.new_zeros(1, embed.in_chans, _PROBE, _PROBE)
            features = embed.backbone.eval()(images)
        if isinstance(features, (list, tuple)):
            features = features[-1]
        size = tuple(
            _PROBE // side * patch
            for side, patch in zip(features.shape[2:], size, strict=True)
        )
    if size[0] != size[1]:
        raise ConfigError(
            f'the teacher has patches of {size[0]}x{size[1]} px, and must '
            'have square ones'
        )
    return size[0]


def load_network(network: nn.Module, checkpoint: str) -> None:
    """Load the weights of a pre-training, all or none.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If they do not fit.
    """
    # `layers` are blocks in other libraries, but the stages of a Swin.
    names = () if isinstance(network, STAGED) else TIMM_NAMES
    load_weights(network, checkpoint, names, partial(_adapt, network))


def _adapt(network: nn.Module, state: State) -> State:
    """Let timm bring position tables to the size of the network."""
    module = sys.modules[type(network).__module__]
    source = dict(state)
    if 'register_tokens' in state or any('.mlp.w12.' in key for key in state):
        # By the mask token, which is no part of an encoder, timm knows the
        # files of DINOv2's authors.
        source['mask_token'] = torch.zeros(1, 1)
    try:
        adapted = module.checkpoint_filter_fn(source, network)
        if isinstance(network, timm.models.Hiera):
            return _adapt_hiera(adapted, network)
        return {**adapted, **_lost_biases(state, adapted)}
    except (AttributeError, RuntimeError):
        # Weights of another architecture; the check of all keys and shapes
        # that follows says what differs.
        return state


def _lost_biases(state: State, adapted: State) -> State:
    """Biases that timm drops though they change the result.

    It does so where the network has none, as those of most files of DINOv3
    are zero. That of the keys is always masked out there.
    """
    lost = {}
    for key, bias in state.items():
        own = key.replace('qkv.bias', 'q_bias')
        if key.endswith('qkv.bias') and not {key, own} & set(adapted):
            query, _, value = bias.chunk(3)
            if query.any() or value.any():
                lost[key] = bias
    return lost


def _adapt_hiera(state: State, network: nn.Module) -> State:
    """Positions for the image size; the norm of the fused stages goes."""
    state = {k: x for k, x in state.items() if not k.startswith('head.')}
    if 'pos_embed' in state:
        state['pos_embed'] = resize_positions(state['pos_embed'], network)
    return state
