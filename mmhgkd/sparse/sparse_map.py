"""Sparse features in the place of the maps of a dense network."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .sparse_feature import NoSparseForm, SparseFeature

__all__ = ['Padding', 'SparseMap']


class Padding(NamedTuple):
    """Values around a map, which the next window reads.

    Args:
        sides (tuple[int, int, int, int]): Positions to the left, right, top
            and bottom, as of ``torch.nn.functional.pad``.
        value (float): Their value.
    """

    sides: tuple[int, int, int, int]
    value: float = 0.0


class SparseMap(NamedTuple):
    """A sparse feature where the dense network has a map.

    Args:
        feature (SparseFeature): The feature.
        channels_last (bool): Whether the dense map is ``(B, H, W, *C)`` and
            not ``(B, *C, H, W)``. Defaults to False.
        folds (tuple[int], optional): Sizes of the axes that the channels are
            folded to. Defaults to None, which means one axis.
        padding (Padding, optional): Values around the map. Defaults to None.
    """

    feature: SparseFeature
    channels_last: bool = False
    folds: tuple[int, ...] | None = None
    padding: Padding | None = None

    @property
    def channels(self) -> tuple[int, ...]:
        """Sizes of the channel axes."""
        return self.folds or (self.feature.values.size(1),)

    @property
    def shape(self) -> torch.Size:
        """Shape of the dense map."""
        mask = self.feature.mask
        block = mask.block(self.feature.stride)
        batch = mask.ids.size(0)
        spatial = (mask.rows * block, mask.columns * block)
        if self.channels_last:
            return torch.Size((batch, *spatial, *self.channels))
        return torch.Size((batch, *self.channels, *spatial))

    @property
    def spatial_axes(self) -> tuple[int, int]:
        """Axes of height and width in the dense map."""
        first = 1 if self.channels_last else 1 + len(self.channels)
        return first, first + 1

    def positions(self) -> Tensor:
        """Values of the visible positions, ``(B, P, *C)``."""
        return self.feature.by_image().unflatten(-1, self.channels)

    def with_positions(self, values: Tensor) -> 'SparseMap':
        """Map of other values, ``(B, P, *C)``."""
        folds = tuple(values.shape[2:])
        rows = values.flatten(0, 1).flatten(1)
        return self._replace(
            feature=self.feature.with_rows(rows),
            folds=folds if len(folds) > 1 else None,
        )

    def axis(self, dim: int) -> int:
        """Axis of :meth:`positions` of a channel axis of the dense map.

        Raises:
            NoSparseForm: If it is no channel axis.
        """
        rank = 3 + len(self.channels)
        dim %= rank
        if dim == 0 or dim in self.spatial_axes:
            raise NoSparseForm(
                f'an operation along axis {dim} of a feature map of {rank} '
                'axes has no sparse form: channels only'
            )
        return dim - 1 if self.channels_last else dim + 1

    def operand(self, other: Any) -> Any:
        """What is combined with :meth:`positions` of this map.

        Args:
            other (Any): A number, a map, or a tensor of one value a channel
                and image, or of one a position, too.

        Raises:
            ValueError: If it fits no sparse map.
        """
        rank = 3 + len(self.channels)
        if isinstance(other, SparseMap):
            self.check_same(other)
            if len(other.channels) != len(self.channels):
                raise ValueError(
                    f'feature maps of {rank} and '
                    f'{3 + len(other.channels)} axes meet'
                )
            return other.positions()
        if not isinstance(other, Tensor) or other.dim() == 0:
            return other
        shape = (1,) * (rank - other.dim()) + tuple(other.shape)
        y, x = self.spatial_axes
        places = shape[y : x + 1] if len(shape) == rank else None
        if places == tuple(self.shape[y : x + 1]):
            return self._at_visible(other.reshape(shape))
        if places != (1, 1):
            raise ValueError(
                f'a tensor of shape {tuple(other.shape)} is combined with a '
                f'feature map of shape {tuple(self.shape)}; it must hold one '
                'value a channel, or as many positions'
            )
        return other.reshape(shape[0], 1, *shape[1:y], *shape[x + 1 :])

    def _at_visible(self, values: Tensor) -> Tensor:
        """What a tensor of all positions has at the visible ones."""
        y, x = self.spatial_axes
        values = values.movedim((y, x), (1, 2)).flatten(1, 2)
        places = self.feature.mask.positions(self.feature.stride)
        if values.size(0) == 1:
            return values[0, places]
        images = torch.arange(len(places), device=places.device)
        return values[images[:, None], places]

    def per_image(self, values: Tensor, keepdim: bool) -> Tensor:
        """What the dense network has for ``(B, *C)`` values."""
        if not keepdim:
            return values
        if self.channels_last:
            return values[:, None, None]
        return values[..., None, None]

    def check_same(self, other: Any) -> None:
        """Check that another map has the positions of this one.

        Raises:
            NoSparseForm: If it is no map.
            ValueError: If it is one of other positions.
        """
        if not isinstance(other, SparseMap):
            raise NoSparseForm(
                'a feature map and a tensor cannot be concatenated'
            )
        if self.channels_last != other.channels_last:
            raise ValueError(
                'feature maps with the channels first and last meet'
            )
        if self.feature.stride != other.feature.stride:
            raise ValueError(
                f'feature maps of strides {self.feature.stride} and '
                f'{other.feature.stride} meet'
            )

    def folded(self, shape: Sequence[int]) -> 'SparseMap':
        """The map with its channels folded to another shape.

        Args:
            shape (Sequence[int]): Shape of the dense map; -1 for one axis.

        Raises:
            NoSparseForm: If it changes other axes than the channels'.
        """
        total = math.prod(self.shape)
        known = -math.prod(shape) if -1 in shape else total
        sizes = [total // max(known, 1) if x == -1 else x for x in shape]
        y, x = self.spatial_axes
        spatial = (self.shape[y], self.shape[x])
        channels = sizes[3:] if self.channels_last else sizes[1:-2]
        found = sizes[1:3] if self.channels_last else sizes[-2:]
        if (
            len(sizes) < 4
            or sizes[0] != self.shape[0]
            or tuple(found) != spatial
            or math.prod(sizes) != total
        ):
            raise NoSparseForm(
                f'a reshape of {tuple(self.shape)} to {tuple(sizes)} has no '
                'sparse form: only channels can be folded'
            )
        return self._replace(
            folds=tuple(channels) if len(channels) > 1 else None
        )
