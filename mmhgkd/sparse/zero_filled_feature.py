import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from mmhgkd.masks import UnitMask

from .batch_norm import batch_norm
from .masked_feature import MaskedFeature


class ZeroFilledFeature(MaskedFeature):
    """Dense features of an image whose masked units are zero.

    What a sparse student is compared with: the ordinary network sees the hole
    as black squares, fills it with what flows in from its rim, and counts it
    in the statistics of its norms. To the decoder every position is visible.

    Args:
        values (Tensor): ``(B, C, H / stride, W / stride)``.
        mask (UnitMask): A mask that hides nothing.
        stride (int): Pixels between two positions. Defaults to 1.
    """

    @classmethod
    @override
    def from_images(
        cls, images: Tensor, mask: UnitMask
    ) -> 'ZeroFilledFeature':
        units = torch.arange(mask.num_units, device=mask.ids.device)
        everything = mask._replace(ids=units.expand(len(images), -1))
        return cls(images * mask.visible(1), everything)

    @override
    def norm(self, module: _BatchNorm) -> 'ZeroFilledFeature':
        values = batch_norm(module, self.values)
        return ZeroFilledFeature(values, self.mask, self.stride)

    @override
    def _visible(self, values: Tensor) -> 'ZeroFilledFeature':
        stride = self.stride * self.values.size(2) // values.size(2)
        return ZeroFilledFeature(values, self.mask, stride)
