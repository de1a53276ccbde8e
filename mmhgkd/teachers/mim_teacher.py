import inspect
from collections.abc import Sequence

import torch
from mmpretrain.models import BEiTViT, VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

from .base_teacher import IMAGENET_MEAN, IMAGENET_STD, BaseTeacher
from .checkpoint import MMPRETRAIN_NAMES, load_weights, require_checkpoint


@MODELS.register_module()
class MIMTeacher(BaseTeacher):
    """A Vision Transformer of mmpretrain, pre-trained without labels.

    The teachers of H-GKD are `MAE <https://arxiv.org/abs/2111.06377>`_ and
    `BEiT <https://arxiv.org/abs/2106.08254>`_. Checkpoints of
    facebookresearch/mae, unilm, timm and mmpretrain load directly.

    A BEiT that was only pre-trained shares one relative position bias and
    ends with a norm: ``backbone=dict(type='BEiTPretrainViT', arch='base')``.
    Those of unilm were trained with ``mean = std = (127.5, ) * 3``; BEiT v2
    and the BEiT of mmpretrain with ImageNet's statistics.

    Args:
        backbone (dict): Config of the encoder, ``MAEViT``,
            ``VisionTransformer``, ``BEiTPretrainViT`` or ``BEiTViT``, by
            default of mmpretrain's scope. The teacher sets ``out_type`` and
            ``out_indices``.
        checkpoint (str, optional): File or URL of the pre-trained weights.
            Defaults to None, which needs ``allow_random``.
        layer (int or Sequence[int]): Block whose tokens are the target, or
            several; the final norm belongs to the last block only.
            Defaults to -1.
        mean (Sequence[float], optional): RGB means, in 0..255, of the
            pre-training. Defaults to None, which means ImageNet's; a BEiT
            must be given its own.
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
            not fit ``backbone``.
        FileNotFoundError: If there is no such checkpoint.
    """

    def __init__(
        self,
        backbone: dict,
        checkpoint: str | None = None,
        layer: int | Sequence[int] = -1,
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
        kind = backbone.get('type')
        if isinstance(kind, str):
            kind = MMPRETRAIN_MODELS.get(kind)
        if not (
            inspect.isclass(kind)
            and issubclass(kind, (VisionTransformer, BEiTViT))
        ):
            raise ConfigError(
                '`teacher.backbone` must be a VisionTransformer or BEiTViT of '
                f'mmpretrain, got {backbone.get("type")!r}'
            )
        is_vit = issubclass(kind, VisionTransformer)
        if input == 'visible' and not is_vit:
            raise ConfigError(
                "`teacher.input='visible'` needs a backbone without relative "
                f'position bias, such as MAEViT, got {kind.__name__}; '
                "use `input='full'`"
            )
        if not is_vit and (mean is None or std is None):
            raise ConfigError(
                '`teacher.mean` and `teacher.std` are needed for a BEiT: '
                '(127.5, 127.5, 127.5) each for the BEiT of unilm, '
                f"ImageNet's {IMAGENET_MEAN} and {IMAGENET_STD} for BEiT v2 "
                'and for the BEiT of mmpretrain'
            )
        # An explicit scope, as the default one may be that of a detector.
        network = MMPRETRAIN_MODELS.build(
            {
                '_scope_': 'mmpretrain',
                **backbone,
                'type': kind,
                'out_type': 'raw',
                'out_indices': [-1],
            }
        )
        layers = self.check_layers(layer, network.num_layers)
        super().__init__(
            embed_dims=network.embed_dims,
            patch_size=network.patch_embed.projection.stride[0],
            mean=IMAGENET_MEAN if mean is None else mean,
            std=IMAGENET_STD if std is None else std,
            input=input,
            target_norm=target_norm,
            input_size=input_size,
            num_layers=len(layers),
            combine=combine,
            group_size=group_size,
            bands=bands,
            precision=precision,
        )
        if checkpoint is None:
            network.init_weights()
        else:
            load_weights(network, checkpoint, MMPRETRAIN_NAMES)
        network.out_indices = layers
        if layers[-1] < network.num_layers - 1:
            network.layers = network.layers[: layers[-1] + 1]
            network.final_norm = False
        if not is_vit and (
            network.rel_pos_bias is not None or network.use_rel_pos_bias
        ):
            self.fixed_grid = tuple(network.patch_resolution)
        self.backbone = network
        self.num_prefix = network.num_extra_tokens
        # Without it, the pre-training backbones draw a mask of their own.
        parameters = inspect.signature(network.forward).parameters
        self.no_mask = {'mask': None} if 'mask' in parameters else {}
        self.freeze()

    def extract_tokens(
        self, images: Tensor, visible: Tensor | None
    ) -> Sequence[Tensor]:
        """Patch tokens of the chosen blocks, ``(B, L or V, D)`` each."""
        if visible is None:
            found = self.backbone(images, **self.no_mask)
        else:
            found = self._encode_visible(images, visible)
        return [tokens[:, self.num_prefix :] for tokens in found]

    def _encode_visible(self, images: Tensor, visible: Tensor) -> list[Tensor]:
        """Run the blocks on the visible patches only, as MAE's encoder."""
        network = self.backbone
        tokens, grid = network.patch_embed(images)
        if network.cls_token is not None:
            cls_token = network.cls_token.expand(len(images), -1, -1)
            tokens = torch.cat([cls_token, tokens], dim=1)
        tokens = tokens + resize_pos_embed(
            network.pos_embed,
            network.patch_resolution,
            grid,
            mode=network.interpolate_mode,
            num_extra_tokens=self.num_prefix,
        )
        tokens = network.pre_norm(
            self.select_tokens(tokens, visible, self.num_prefix)
        )
        found = []
        for index, layer in enumerate(network.layers):
            tokens = layer(tokens)
            if index in network.out_indices:
                found.append(tokens)
        if network.final_norm:
            found[-1] = network.ln1(tokens)
        return found
