"""How layers are applied to sparse features."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from .sparse_feature import SparseFeature


class NoSparseForm(TypeError):
    """A layer or an operation that sparse features do not have."""


class SparseForm(NamedTuple):
    """How a dense layer is applied to a sparse feature.

    Args:
        apply (Callable): Takes the feature and the layer.
        layout (str): Layout of the dense maps that the layer takes: 'first'
            or 'last' (where the channels are), 'any', or 'argument' (an
            argument ``data_format`` says it).
    """

    apply: 'Callable[[SparseFeature, Any], SparseFeature]'
    layout: Literal['first', 'last', 'any', 'argument'] = 'first'


def layer_norm(
    feature: 'SparseFeature', module: nn.LayerNorm
) -> 'SparseFeature':
    """Normalize over the channels of each position."""
    if len(module.normalized_shape) != 1:
        raise NoSparseForm(
            f'{module} has no sparse form: it normalizes over positions'
        )

    def normalize(values: Tensor) -> Tensor:
        return F.layer_norm(
            values,
            module.normalized_shape,
            module.weight,
            module.bias,
            module.eps,
        )

    return feature.map_channels(normalize)


def drop_path(feature: 'SparseFeature', module: Any) -> 'SparseFeature':
    """Stochastic depth of mmcv or timm, over images."""
    if not module.training or module.drop_prob == 0:
        return feature
    keep = 1 - module.drop_prob
    ids = feature.mask.ids
    kept = torch.rand(ids.size(0), device=ids.device) < keep
    scale = keep if getattr(module, 'scale_by_keep', True) else 1
    return feature.scale_images(kept / scale)


CONV = SparseForm(lambda feature, module: feature.conv(module))
NORM = SparseForm(lambda feature, module: feature.norm(module))
MAP = SparseForm(lambda feature, module: feature.map(module))
MAP_ANY = MAP._replace(layout='any')
IDENTITY = SparseForm(lambda feature, module: feature, 'any')
