from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn

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
        self.norm = build_norm_layer(norm_cfg, in_channels)
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


def check_channels(
    rows: Sequence[Tensor], in_channels: tuple[int, ...]
) -> None:
    """Check that a decoder gets the features that it was made for.

    Raises:
        ConfigError: If number or widths of the features differ.
    """
    channels = tuple(row.size(1) for row in rows)
    if channels != in_channels:
        raise ConfigError(
            f'the backbone gives features of {channels} channels, the '
            f'decoder takes {in_channels}; set '
            f'`neck.in_channels={channels}`'
        )
