from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Self, override

from mmhgkd.masks import UnitMask

from .batch_norm import DistributedBatchNorm, batch_norm
from .gather_conv import gather_conv
from .geometry import Geometry
from .packed_pool import avg_pool, max_pool
from .sparse_feature import SparseFeature, scaled
from .triton import uses_triton
from .window import Window, window_and_weight

_FUSED_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, DistributedBatchNorm)


class PackedFeature(SparseFeature):
    """Sparse features held as one matrix of the visible positions.

    Masked positions cost neither memory nor arithmetic. Pointwise layers are
    plain operations on the matrix; windows gather the rows that they read.

    Args:
        values (Tensor): ``(N, C)`` in packed row order (image, unit, y, x).
        geometry (Geometry): Tables of the mask, shared by all features of a
            forward pass.
        stride (int): Pixels between two positions. Defaults to 1.
    """

    triton = True

    def __init__(
        self, values: Tensor, geometry: Geometry, stride: int = 1
    ) -> None:
        super().__init__(values, geometry.mask, stride)
        self.geometry = geometry

    @classmethod
    @override
    def from_images(cls, images: Tensor, mask: UnitMask) -> 'PackedFeature':
        batch, channels, height, width = images.shape
        size = (
            mask.ids.size(0),
            mask.rows * mask.unit,
            mask.columns * mask.unit,
        )
        if (batch, height, width) != size:
            raise ValueError(
                f'images of shape {tuple(images.shape)} do not fit a mask of '
                f'{size[0]} images of {size[1]}x{size[2]}; draw the mask for '
                'the size of the batch'
            )
        grid = images.view(
            batch, channels, mask.rows, mask.unit, mask.columns, mask.unit
        ).permute(0, 2, 4, 3, 5, 1)
        image = torch.arange(batch, device=mask.ids.device)[:, None]
        row = mask.ids.div(mask.columns, rounding_mode='floor')
        column = mask.ids.remainder(mask.columns)
        rows = grid[image, row, column].reshape(-1, channels)
        return cls(rows, Geometry(mask, cls.triton))

    @override
    def rows(self) -> Tensor:
        return self.values

    @override
    def conv(self, module: nn.Conv2d) -> 'PackedFeature':
        window, weight = window_and_weight(module)
        rows, weight = autocast_operands(self.values, weight)
        rows = gather_conv(
            rows, weight, self.geometry, self.stride, window, module.groups
        )
        if module.bias is not None:
            rows = rows + module.bias.to(rows.dtype)
        return self._with(rows, window.stride)

    @override
    def norm(self, module: _BatchNorm) -> 'PackedFeature':
        if (
            self.geometry.triton
            and uses_triton(self.values)
            and not torch.compiler.is_compiling()
        ):
            from .triton.norm_act import norm_act

            return self._with(norm_act(module, self.values))
        return self._with(batch_norm(module, self.values))

    @override
    def fused_norm_act(
        self,
        norm: nn.Module,
        act: nn.Module,
        residual: SparseFeature | None = None,
        factor: Tensor | None = None,
    ) -> SparseFeature | None:
        added = None if residual is None else residual.rows()
        rows = [self.values] if added is None else [self.values, added]
        if (
            isinstance(norm, _BatchNorm)
            and type(norm) in _FUSED_NORMS
            and type(act) is nn.ReLU
            and self.geometry.triton
            and uses_triton(*rows)
            and not torch.compiler.is_compiling()
        ):
            from .triton.norm_act import norm_act

            out = norm_act(norm, self.values, added, True, factor)
            return self._with(out)
        return None

    @override
    def max_pool(self, module: nn.MaxPool2d) -> 'PackedFeature':
        window = Window.of(module)
        rows = max_pool(
            self.values,
            self.geometry,
            self.stride,
            window,
            getattr(module, 'value', None) == 0,
        )
        return self._with(rows, window.stride)

    @override
    def avg_pool(self, module: nn.AvgPool2d) -> 'PackedFeature':
        window = Window.of(module)
        rows = avg_pool(
            self.values,
            self.geometry,
            self.stride,
            window,
            module.divisor_override,
            # Nor does what a last window reads past the map count.
            module.count_include_pad
            and (any(window.padding) or not module.ceil_mode),
        )
        return self._with(rows, window.stride)

    @override
    def map(self, function: Callable[[Tensor], Tensor]) -> 'PackedFeature':
        return self._with(function(self.values))

    map_channels = map

    @override
    def scale_images(
        self,
        factor: Tensor,
        residual: SparseFeature | None = None,
        scale: float = 1.0,
    ) -> Self:
        images = (factor.size(0), -1)
        values = scaled(
            self.values.unflatten(0, images),
            factor.view(factor.size(0), 1, -1),
            None if residual is None else residual.values.unflatten(0, images),
            scale,
        )
        return self._with(values.flatten(0, 1))

    @override
    def with_rows(self, rows: Tensor, stride: int | None = None) -> Self:
        return type(self)(rows, self.geometry, stride or self.stride)

    @override
    def _with(self, values: Tensor, stride: int = 1) -> Self:
        return type(self)(values, self.geometry, self.stride * stride)


class TorchPackedFeature(PackedFeature):
    """Packed features that PyTorch computes, without the Triton kernels."""

    triton = False


def autocast_operands(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast as autocast does before a convolution."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        x.to(dtype) if x.dtype == torch.float32 else x for x in tensors
    )
