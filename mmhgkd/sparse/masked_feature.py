from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Self, override

from mmhgkd.masks import UnitMask

from .batch_norm import batch_norm
from .rows import dense_to_rows, rows_to_dense
from .sparse_feature import SparseFeature, scaled


class MaskedFeature(SparseFeature):
    """Sparse features held as a dense map with zeros at masked positions.

    Every layer is the dense one, followed by a multiplication with the mask:
    simple, no faster than dense, and the reference for the other backends.

    Args:
        values (Tensor): ``(B, C, H / stride, W / stride)``, zero where
            masked.
        mask (UnitMask): Which units are visible.
        stride (int): Pixels between two positions. Defaults to 1.
    """

    def __init__(
        self, values: Tensor, mask: UnitMask, stride: int = 1
    ) -> None:
        super().__init__(values, mask, stride)

    @classmethod
    @override
    def from_images(cls, images: Tensor, mask: UnitMask) -> 'MaskedFeature':
        return cls(images * mask.visible(1), mask)

    @override
    def rows(self) -> Tensor:
        return dense_to_rows(self.values, self.mask, self.stride)

    @override
    def map(self, function: Callable[[Tensor], Tensor]) -> 'MaskedFeature':
        return self._visible(function(self.values))

    # Dense layers are functions of the map.
    conv = max_pool = avg_pool = map  # type: ignore[assignment]

    @override
    def norm(self, module: _BatchNorm) -> 'MaskedFeature':
        rows = batch_norm(module, self.rows())
        return self._with(rows_to_dense(rows, self.mask, self.stride))

    @override
    def map_channels(
        self, function: Callable[[Tensor], Tensor]
    ) -> 'MaskedFeature':
        values = function(self.values.permute(0, 2, 3, 1))
        return self._visible(values.permute(0, 3, 1, 2))

    @override
    def scale_images(
        self,
        factor: Tensor,
        residual: SparseFeature | None = None,
        scale: float = 1.0,
    ) -> Self:
        factor = factor.view(factor.size(0), -1, 1, 1)
        added = None if residual is None else residual.values
        return self._with(scaled(self.values, factor, added, scale))

    @override
    def with_rows(self, rows: Tensor, stride: int | None = None) -> Self:
        stride = stride or self.stride
        values = rows_to_dense(rows, self.mask, stride)
        return type(self)(values, self.mask, stride)

    @override
    def _with(self, values: Tensor) -> Self:
        return type(self)(values, self.mask, self.stride)

    def _visible(self, values: Tensor) -> 'MaskedFeature':
        stride = self.stride * self.values.size(2) // values.size(2)
        return type(self)(
            values * self.mask.visible(stride), self.mask, stride
        )


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
        return self._with(batch_norm(module, self.values))

    @override
    def _visible(self, values: Tensor) -> 'ZeroFilledFeature':
        stride = self.stride * self.values.size(2) // values.size(2)
        return ZeroFilledFeature(values, self.mask, stride)
