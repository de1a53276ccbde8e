"""Parts for MMSegmentation."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmhgkd.masks import UnitMask
from mmhgkd.necks import UNetNeck
from mmhgkd.registry import MODELS
from mmhgkd.sparse import MaskedFeature

__all__ = ['UNetHead']


@MODELS.register_module()
class UNetHead(BaseDecodeHead):
    """Decode head that continues the UNet decoder of a distillation.

    It is the :class:`mmhgkd.necks.UNetNeck` of the pre-training with a
    classifier of pixels in place of its last convolution, on features in
    which everything is visible. With ``init_cfg=dict(type='Pretrained',
    checkpoint=..., prefix='neck.')`` in ``decoder`` it starts from the
    distilled weights.

    Args:
        in_channels (Sequence[int]): Channels of the features, finest first.
        decoder (dict): Other arguments of ``UNetNeck``, as in the
            pre-training: ``width``, ``depth``, ``finest_stride``,
            ``norm_cfg``, and ``init_cfg``.
        in_index (Sequence[int]): Features that are used, each of twice the
            stride of the one before. Defaults to (0, 1, 2, 3).
        **kwargs: Other arguments of mmseg's ``BaseDecodeHead``, such as
            ``num_classes`` and ``loss_decode``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        decoder: dict,
        in_index: Sequence[int] = (0, 1, 2, 3),
        **kwargs: Any,
    ) -> None:
        neck = UNetNeck(in_channels, **decoder)
        super().__init__(
            in_channels,
            neck.to_tokens.in_channels,
            in_index=in_index,
            input_transform='multiple_select',
            **kwargs,
        )
        # It makes tokens of the finest map, for the teacher only.
        setattr(neck, 'to_tokens', nn.Identity())  # noqa: B010
        self.decoder = neck
        self.finest_stride = decoder.get('finest_stride', 4)

    def decode(self, inputs: Sequence[Tensor]) -> Tensor:
        """Decode maps ``(B, C, H, W)`` of all strides to one of the finest."""
        maps = self._transform_inputs(inputs)
        batch, _, rows, columns = maps[-1].shape
        strides = [self.finest_stride * 2**i for i in range(len(maps))]
        everything = torch.arange(
            rows * columns, device=maps[-1].device
        ).expand(batch, -1)
        mask = UnitMask(everything, rows, columns, strides[-1])
        features = []
        for x, stride in zip(maps, strides, strict=True):
            # Where the side of an image is no multiple of the largest stride,
            # the size of a map is not twice that of the next.
            side = mask.block(stride)
            right, below = columns * side - x.size(3), rows * side - x.size(2)
            padded = F.pad(x, (0, right, 0, below))
            features.append(MaskedFeature(padded, mask, stride))
        height, width = maps[0].shape[2:]
        return self.decoder(features)[..., :height, :width]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify, at the finest stride of the features."""
        return self.cls_seg(self.decode(inputs))
