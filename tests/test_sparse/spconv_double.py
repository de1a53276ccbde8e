"""Stands in for ``spconv.pytorch``: the same layers in dense operations.

As in spconv, a layer has an output wherever its window meets a position of
the input, in no particular order, and weights have the input channels last.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SparseConvTensor:
    def __init__(
        self,
        features: Tensor,
        indices: Tensor,
        spatial_shape: list[int],
        batch_size: int,
        indice_dict: dict[str, Any],
    ) -> None:
        assert indices.dtype == torch.int32 and indices.is_contiguous()
        assert features.dtype in (torch.float16, torch.float32)
        self.features, self.indices = features, indices
        self.spatial_shape, self.batch_size = spatial_shape, batch_size
        self.indice_dict = indice_dict

    def maps(self, values: Tensor, fill: float = 0) -> Tensor:
        shape = (self.batch_size, *self.spatial_shape, values.size(1))
        places = tuple(self.indices.long().unbind(1))
        return (
            values.new_full(shape, fill)
            .index_put(places, values)
            .permute(0, 3, 1, 2)
        )


class _Layer(nn.Module):
    subm = False

    def __init__(
        self,
        kernel_size: tuple[int, int],
        stride: int,
        padding: Any,
        dilation: Any,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.window = dict(stride=stride, padding=padding, dilation=dilation)

    def spread(self, x: SparseConvTensor, maps: Tensor) -> SparseConvTensor:
        seen = x.maps(torch.ones_like(x.features[:, :1]))
        kernel = seen.new_ones(1, 1, *self.kernel_size)
        found = F.conv2d(seen, kernel, **self.window)[:, 0].nonzero()
        found = found[torch.randperm(len(found))]
        features = maps.permute(0, 2, 3, 1)[tuple(found.unbind(1))]
        return SparseConvTensor(
            features,
            found.int(),
            list(maps.shape[2:]),
            x.batch_size,
            x.indice_dict,
        )


class SparseConv2d(_Layer):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: int = 1,
        padding: Any = 0,
        dilation: Any = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation)
        assert stride == 1 or max(dilation) == 1
        assert not bias
        self.weight = nn.Parameter(
            torch.full((out_channels, *kernel_size, in_channels), torch.nan)
        )

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        weight = self.weight.permute(0, 3, 1, 2)
        return self.spread(
            x, F.conv2d(x.maps(x.features), weight, **self.window)
        )


class SubMConv2d(SparseConv2d):
    subm = True

    def __init__(
        self,
        *args: Any,
        indice_key: str,
        dilation: tuple[int, int],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, dilation=dilation, **kwargs)
        self.indice_key = indice_key
        self.window['padding'] = [
            step * (size // 2)
            for size, step in zip(self.kernel_size, dilation, strict=True)
        ]

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        known = (len(x.indices), self.kernel_size, self.window['dilation'])
        assert x.indice_dict.get(self.indice_key, known) == known
        maps = F.conv2d(
            x.maps(x.features), self.weight.permute(0, 3, 1, 2), **self.window
        )
        features = maps.permute(0, 2, 3, 1)[tuple(x.indices.long().unbind(1))]
        return SparseConvTensor(
            features,
            x.indices,
            x.spatial_shape,
            x.batch_size,
            {**x.indice_dict, self.indice_key: known},
        )


class SparseMaxPool2d(_Layer):
    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        maps = x.maps(x.features, fill=float('-inf'))
        return self.spread(
            x, F.max_pool2d(maps, self.kernel_size, **self.window)
        )
