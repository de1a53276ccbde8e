from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.sparse import SparseFeature
from mmhgkd.sparse.batch_norm import batch_norm
from mmhgkd.sparse.rows import rows_to_dense
from mmhgkd.utils import ConfigError


class Densify(BaseModule):
    """Fills the holes of a sparse feature map with a learned token.

    Norm, mask token, projection, as SparK's densifying (section 3.2).

    Args:
        in_channels (int): Channels of the sparse feature.
        out_channels (int): Channels of the dense map.
        kernel_size (int): Kernel of the projection.
        norm_cfg (dict): Config of the norm layer, a batch norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        self.norm = build_norm(norm_cfg, in_channels)
        self.mask_token = nn.Parameter(torch.zeros(in_channels))
        self.projection = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2
        )
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def forward(self, feature: SparseFeature) -> Tensor:
        """Densify to ``(B, out_channels, H / stride, W / stride)``."""
        rows = batch_norm(self.norm, feature.rows())
        return self.projection(
            rows_to_dense(rows, feature.mask, feature.stride, self.mask_token)
        )


def build_norm(norm_cfg: dict, channels: int) -> _BatchNorm:
    """Norm layer of packed rows.

    Args:
        norm_cfg (dict): Its config.
        channels (int): Channels of a row.

    Raises:
        ConfigError: If it is no batch norm.
    """
    norm = build_norm_layer(norm_cfg, channels)
    if not isinstance(norm, _BatchNorm):
        raise ConfigError(
            f'neck `norm_cfg` {norm_cfg["type"]} is no batch norm, which '
            "packed positions need; set `neck.norm_cfg.type='BN'`"
        )
    return norm


def check_options(
    in_channels: Sequence[int],
    out_channels: int,
    out_stride: int,
    width: int,
    depth: int,
    finest_stride: int,
) -> None:
    """Check the options that all decoders have.

    Raises:
        ConfigError: If one is no positive number.
    """
    if (
        not isinstance(in_channels, Sequence)
        or not in_channels
        or any(type(channels) is not int for channels in in_channels)
        or min(in_channels) < 1
    ):
        raise ConfigError(
            'neck `in_channels` must name the channels of at least one '
            f'feature, such as (256, 512), got {in_channels!r}'
        )
    options = dict(
        out_channels=out_channels,
        out_stride=out_stride,
        width=width,
        depth=depth,
        finest_stride=finest_stride,
    )
    for name, value in options.items():
        if type(value) is not int or value < 1:
            raise ConfigError(
                f'neck `{name}` must be a whole number of at least 1, got '
                f'{value!r}'
            )


def check_features(
    features: Sequence[SparseFeature],
    in_channels: tuple[int, ...],
    finest_stride: int,
) -> None:
    """Check that a decoder gets the features that it was made for.

    Raises:
        ConfigError: If number, widths or strides of the features differ.
    """
    check_maps(
        tuple(feature.values.size(1) for feature in features),
        tuple(feature.stride for feature in features),
        in_channels,
        finest_stride,
    )


def check_maps(
    channels: tuple[int, ...],
    strides: tuple[int, ...],
    in_channels: tuple[int, ...],
    finest_stride: int,
) -> None:
    """Check that a decoder fits the maps of a backbone.

    Args:
        channels (tuple[int]): Of each map.
        strides (tuple[int]): Of each map.
        in_channels (tuple[int]): What the decoder takes.
        finest_stride (int): Stride of the first map that it takes.

    Raises:
        ConfigError: If number, widths or strides differ.
    """
    if channels != in_channels:
        raise ConfigError(
            f'the backbone gives {len(channels)} features of {channels} '
            f'channels, the decoder takes {len(in_channels)} of '
            f'{in_channels}; set `neck.in_channels={channels}`'
        )
    expected = _doubling(finest_stride, len(strides))
    if strides == expected:
        return
    mend = (
        f'set `neck.finest_stride={strides[0]}`'
        if strides == _doubling(strides[0], len(strides))
        else 'choose features of doubling strides by `backbone.out_indices`, '
        'or leave the strides and dilations of the backbone as they are'
    )
    raise ConfigError(
        f'the backbone gives features with strides of {strides} px, the '
        f'decoder takes {expected}; {mend}'
    )


def _doubling(first: int, count: int) -> tuple[int, ...]:
    return tuple(first * 2**index for index in range(count))
