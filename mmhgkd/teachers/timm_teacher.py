import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

from .base_teacher import BaseTeacher
from .checkpoint import TIMM_NAMES, State, load_weights, require_checkpoint


@MODELS.register_module()
class TimmTeacher(BaseTeacher):
    """A Vision Transformer of timm as the teacher.

    timm's ``VisionTransformer`` (MAE, DINOv2), ``Beit`` and ``Eva``. Weights
    are never downloaded by name, since most of timm's are fine-tuned, and
    the labels would leak into the student.

    A BEiT that was only pre-trained needs ``model_args=dict(
    use_rel_pos_bias=False, use_shared_rel_pos_bias=True)``.

    Args:
        model_name (str): Name in timm with the tag of its pre-training, such
            as ``'vit_base_patch16_224.mae'``.
        checkpoint (str, optional): File or URL of the pre-trained weights.
            Defaults to None, which needs ``allow_random``.
        model_args (dict, optional): Arguments of ``timm.create_model``.
            Defaults to None.
        layer (int or Sequence[int]): Block whose tokens are the target, or
            several; the final norm belongs to the last block only.
            Defaults to -1.
        mean (Sequence[float], optional): RGB means, in 0..255, of the
            pre-training. Defaults to None, which means those that timm
            lists for the tag in ``model_name``.
        std (Sequence[float], optional): As ``mean``, for the deviations.
            Defaults to None.
        input (str): See :class:`BaseTeacher`. Defaults to 'full'.
        target_norm (str): As above. Defaults to 'layer_norm'.
        input_size (int or Sequence[int], optional): As above.
            Defaults to None.
        combine (str): As above. Defaults to 'concat'.
        group_size (int): As above. Defaults to 16.
        allow_random (bool): Whether a teacher without checkpoint is wanted.
            Defaults to False.

    Raises:
        ConfigError: If an argument is out of range, or the checkpoint does
            not fit the model.
        FileNotFoundError: If there is no such checkpoint.
    """

    def __init__(
        self,
        model_name: str,
        checkpoint: str | None = None,
        model_args: dict | None = None,
        layer: int | Sequence[int] = -1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        input: str = 'full',
        target_norm: str = 'layer_norm',
        input_size: int | Sequence[int] | None = None,
        combine: str = 'concat',
        group_size: int = 16,
        allow_random: bool = False,
    ) -> None:
        require_checkpoint(checkpoint, allow_random)
        if '.' not in model_name and (mean is None or std is None):
            raise ConfigError(
                f'`teacher.model_name` {model_name!r} does not say which '
                'pre-training it means: add its tag, such as '
                "'vit_base_patch16_224.mae', or set `teacher.mean` and "
                '`teacher.std`'
            )
        network = _build(model_name, model_args or {})
        if input == 'visible' and not isinstance(
            network, timm.models.VisionTransformer
        ):
            raise ConfigError(
                "`teacher.input='visible'` needs a timm VisionTransformer "
                f'(absolute positions), got {type(network).__name__}; use '
                "`input='full'`"
            )
        norm = network.pretrained_cfg
        depth = len(network.blocks)
        layers = self.check_layers(layer, depth)
        super().__init__(
            embed_dims=network.embed_dim,
            patch_size=network.patch_embed.patch_size[0],
            mean=[255 * x for x in norm['mean']] if mean is None else mean,
            std=[255 * x for x in norm['std']] if std is None else std,
            input=input,
            target_norm=target_norm,
            input_size=input_size,
            num_layers=len(layers),
            combine=combine,
            group_size=group_size,
        )
        self.layers = layers
        if checkpoint is not None:
            load_weights(
                network, checkpoint, TIMM_NAMES, partial(_adapt, network)
            )
        if layers[-1] < depth - 1:
            network.prune_intermediate_layers(layers, prune_norm=True)
        if not getattr(network, 'dynamic_img_size', False):
            self.fixed_grid = tuple(network.patch_embed.grid_size)
        self.network: Any = network
        self.freeze()

    def extract_tokens(
        self, images: Tensor, visible: Tensor | None
    ) -> Sequence[Tensor]:
        """Patch tokens of the chosen blocks, ``(B, L or V, D)`` each."""
        network = self.network
        if visible is None:
            found = network.forward_intermediates(
                images,
                indices=self.layers,
                output_fmt='NLC',
                intermediates_only=True,
            )
        else:
            found = self._encode_visible(images, visible)
        # Of another than the last block there is no norm left.
        return [*found[:-1], network.norm(found[-1])]

    def _encode_visible(self, images: Tensor, visible: Tensor) -> list[Tensor]:
        network, num_prefix = self.network, self.network.num_prefix_tokens
        tokens = network._pos_embed(network.patch_embed(images))
        tokens = network.norm_pre(
            self.select_tokens(tokens, visible, num_prefix)
        )
        found = []
        for index, block in enumerate(network.blocks):
            tokens = block(tokens)
            if index in self.layers:
                found.append(tokens[:, num_prefix:])
        return found


def _build(model_name: str, model_args: dict) -> Any:
    """Build a random model without head, for any image size if possible."""
    # Without pooling, timm keeps the norm of the patch tokens.
    model_args = {'num_classes': 0, 'global_pool': '', **model_args}
    try:
        try:
            network = timm.create_model(
                model_name, **{'dynamic_img_size': True, **model_args}
            )
        except TypeError as error:
            if 'dynamic_img_size' not in str(error):
                raise
            network = timm.create_model(model_name, **model_args)
    except (AssertionError, TypeError) as error:
        raise ConfigError(
            f'timm cannot build `teacher.model_name` {model_name!r} with '
            f'{model_args}: {error}'
        ) from error
    models = timm.models
    if not isinstance(
        network, (models.VisionTransformer, models.Beit, models.Eva)
    ):
        raise ConfigError(
            f'`teacher.model_name` {model_name!r} is a '
            f'{type(network).__name__}; TimmTeacher takes the plain Vision '
            'Transformers of timm: VisionTransformer, Beit and Eva'
        )
    return network


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
