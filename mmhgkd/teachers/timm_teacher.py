from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

from .base_teacher import BaseTeacher
from .checkpoint import require_checkpoint
from .timm_network import build_network, find_patch_size, load_network
from .timm_stages import (
    STAGED,
    check_windows,
    choose_stages,
    image_size,
    prune,
    stage_tokens,
)


@MODELS.register_module()
class TimmTeacher(BaseTeacher):
    """A Vision Transformer of timm as the teacher.

    timm's ``VisionTransformer`` (MAE, DINOv2), ``Beit`` and ``Eva``, and of
    the networks in stages ``Hiera`` (MAE) and ``SwinTransformer`` (SimMIM).
    Weights are never downloaded by name, since most of timm's are
    fine-tuned, and the labels would leak into the student.

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
            several; the final norm belongs to the last block only. In a
            network in stages they are counted within the stage.
            Defaults to -1.
        stride (int or Sequence[int], optional): Pixels between two tokens of
            a network in stages, which chooses the stage; tokens of several
            are put side by side on the finest grid. Defaults to None, which
            means 16.
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
        bands (Sequence[int], optional): As above. Defaults to None.
        precision (str): As above. Defaults to 'training'.
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
        stride: int | Sequence[int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        input: str = 'full',
        target_norm: str = 'layer_norm',
        input_size: int | Sequence[int] | None = None,
        combine: str = 'concat',
        group_size: int = 16,
        bands: Sequence[int] | None = None,
        precision: str = 'training',
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
        network = build_network(model_name, model_args or {})
        if input == 'visible' and not _reads_patches_alone(network):
            raise ConfigError(
                "`teacher.input='visible'` needs a timm VisionTransformer "
                'with absolute positions that embeds each patch on its own, '
                f"got {_kind(network)}; use `input='full'`"
            )
        stages = None
        if isinstance(network, STAGED):
            stages = choose_stages(network, stride, layer, self.check_layers)
            check_windows(network, stages, (model_args or {}).get('img_size'))
            patch_size = stages[0].stride
            widths = [stage.width for stage in stages for _ in stage.blocks]
            if combine == 'mean' and len(stages) > 1:
                raise ConfigError(
                    "`teacher.combine='mean'` takes tokens of one width, and "
                    "stages differ; use 'concat', or one `teacher.stride`"
                )
        elif stride is not None:
            raise ConfigError(
                '`teacher.stride` is for networks in stages, Hiera and Swin; '
                f'leave it out for a {type(network).__name__}, whose tokens '
                f'are {find_patch_size(network)} px apart'
            )
        else:
            depth = len(network.blocks)
            layers = self.check_layers(layer, depth)
            patch_size = find_patch_size(network)
            widths = [network.embed_dim for _ in layers]
        norm = network.pretrained_cfg
        super().__init__(
            embed_dims=sum(widths) if combine == 'concat' else widths[0],
            patch_size=patch_size,
            mean=[255 * x for x in norm['mean']] if mean is None else mean,
            std=[255 * x for x in norm['std']] if std is None else std,
            input=input,
            target_norm=target_norm,
            input_size=input_size,
            combine=combine,
            group_size=group_size,
            bands=bands,
            precision=precision,
        )
        if checkpoint is not None:
            load_network(network, checkpoint)
        self.stages = stages
        if stages is not None:
            height, width = image_size(network)
            self.fixed_grid = (height // patch_size, width // patch_size)
            prune(network, stages)
        else:
            self.layers = layers
            if layers[-1] < depth - 1:
                network.prune_intermediate_layers(layers, prune_norm=True)
            if not getattr(network, 'dynamic_img_size', False):
                self.fixed_grid = tuple(network.patch_embed.grid_size)
        self.size_option = 'teacher.model_args.img_size'
        self.network: Any = network
        self.freeze()

    def extract_tokens(
        self, images: Tensor, visible: Tensor | None
    ) -> Sequence[Tensor]:
        """Patch tokens of the chosen blocks, ``(B, L or V, D)`` each."""
        network = self.network
        if self.stages is not None:
            return stage_tokens(network, self.stages, images)
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


def _reads_patches_alone(network: Any) -> bool:
    """Whether hidden patches can be left out behind the embedding."""
    return isinstance(network, timm.models.VisionTransformer) and isinstance(
        network.patch_embed, timm.layers.PatchEmbed
    )


def _kind(network: Any) -> str:
    name = type(network).__name__
    if isinstance(network, timm.models.VisionTransformer):
        return f'{name} with the stem {type(network.patch_embed).__name__}'
    return name
