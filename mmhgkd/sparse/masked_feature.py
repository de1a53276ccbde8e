from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from mmhgkd.masks import UnitMask

from .batch_norm import batch_norm
from .sparse_feature import SparseFeature, dense_to_rows, rows_to_dense


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
        super().__init__(mask, stride)
        self.values = values

    @classmethod
    @override
    def from_images(cls, images: Tensor, mask: UnitMask) -> 'MaskedFeature':
        return cls(images * mask.visible(1), mask)

    @override
    def rows(self) -> Tensor:
        return dense_to_rows(self.values, self.mask, self.stride)

    @override
    def conv(self, module: nn.Conv2d) -> 'MaskedFeature':
        return self._visible(module(self.values))

    @override
    def norm(self, module: _BatchNorm) -> 'MaskedFeature':
        rows = batch_norm(module, self.rows())
        values = rows_to_dense(rows, self.mask, self.stride)
        return type(self)(values, self.mask, self.stride)

    @override
    def max_pool(self, module: nn.MaxPool2d) -> 'MaskedFeature':
        return self._visible(module(self.values))

    @override
    def avg_pool(self, module: nn.AvgPool2d) -> 'MaskedFeature':
        return self._visible(module(self.values))

    @override
    def map(self, function: Callable[[Tensor], Tensor]) -> 'MaskedFeature':
        return self._visible(function(self.values))

    @override
    def map_channels(
        self, function: Callable[[Tensor], Tensor]
    ) -> 'MaskedFeature':
        values = function(self.values.permute(0, 2, 3, 1))
        return self._visible(values.permute(0, 3, 1, 2))

    @override
    def concatenate(self, others: Sequence[SparseFeature]) -> 'MaskedFeature':
        parts = [self.values]
        for other in others:
            assert isinstance(other, MaskedFeature)
            parts.append(other.values)
        return type(self)(torch.cat(parts, 1), self.mask, self.stride)

    @override
    def add(self, other: SparseFeature) -> 'MaskedFeature':
        assert isinstance(other, MaskedFeature)
        values = self.values + other.values
        return type(self)(values, self.mask, self.stride)

    @override
    def scale_images(self, factor: Tensor) -> 'MaskedFeature':
        shape = (factor.size(0), -1, 1, 1)
        values = self.values * factor.to(self.values.dtype).view(shape)
        return type(self)(values, self.mask, self.stride)

    def _visible(self, values: Tensor) -> 'MaskedFeature':
        stride = self.stride * self.values.size(2) // values.size(2)
        return type(self)(
            values * self.mask.visible(stride), self.mask, stride
        )
