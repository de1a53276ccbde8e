from collections.abc import Sequence
from typing import cast

import torch
from mmengine.model import BaseModule
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhgkd.registry import MODELS
from mmhgkd.sparse import SparseFeature
from mmhgkd.sparse.batch_norm import batch_norm
from mmhgkd.sparse.rows import rows_to_dense
from mmhgkd.utils import ConfigError

from .densify import build_norm, check_features, check_options
from .grid_projection import GridProjection


@MODELS.register_module()
class GridNeck(BaseModule):
    """Decoder that works on the teacher's grid from the start.

    Every scale is normalized and projected at its visible positions straight
    to the grid of the teacher's tokens; the sum gets one mask token at the
    hidden places, and a few depthwise-separable blocks, those of `ConvNeXt
    <https://arxiv.org/abs/2201.03545>`_, fill them in. It does what
    :class:`UNetNeck` does with about a sixth of its arithmetic, as no map is
    finer than the grid.

    Args:
        in_channels (tuple[int]): Channels of the features, finest first.
            Defaults to (256, 512, 1024, 2048), which fits ResNet-50.
        out_channels (int): Width ``D`` of a token. Defaults to 768.
        out_stride (int): Pixels between two tokens. Defaults to 16.
        width (int): Channels of the blocks. Defaults to 512.
        depth (int): Number of blocks. Defaults to 2.
        kernel_size (int): Side of the depthwise kernels. Defaults to 7.
        finest_stride (int): Stride of the first feature; it doubles from
            feature to feature. Defaults to 4.
        norm_cfg (dict, optional): Config of the norm layers of the features.
            Defaults to None, which means batch norm over all ranks.
        init_cfg (dict or list[dict], optional): Config of the
            initialization. Defaults to None, which means truncated normal.

    Raises:
        ConfigError: If the widths or strides do not fit.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        out_channels: int = 768,
        out_stride: int = 16,
        width: int = 512,
        depth: int = 2,
        kernel_size: int = 7,
        finest_stride: int = 4,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            init_cfg
            or dict(type='TruncNormal', layer=['Linear', 'Conv2d'], std=0.02)
        )
        check_options(
            in_channels, out_channels, out_stride, width, depth, finest_stride
        )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ConfigError(
                f'neck `kernel_size` must be odd, got {kernel_size}'
            )
        norm_cfg = norm_cfg or dict(type='mmhgkd.DistributedBatchNorm')
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        self.out_stride = out_stride
        self.finest_stride = finest_stride
        self.norms = nn.ModuleList(
            [build_norm(norm_cfg, channels) for channels in in_channels]
        )
        self.projections = nn.ModuleList(
            [
                GridProjection(
                    channels, width, finest_stride * 2**index, out_stride
                )
                for index, channels in enumerate(in_channels)
            ]
        )
        self.mask_token = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.blocks = nn.Sequential(
            *(
                ConvNeXtBlock(
                    width, kernel_size=kernel_size, ls_init_value=None
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.to_tokens = nn.Linear(width, out_channels)

    def forward(self, features: Sequence[SparseFeature]) -> Tensor:
        """Decode.

        Args:
            features (Sequence[SparseFeature]): One a scale, finest first.

        Returns:
            Tensor: ``(B, out_channels, H / out_stride, W / out_stride)``.

        Raises:
            ConfigError: If the features have other channels or strides.
        """
        check_features(features, self.in_channels, self.finest_stride)
        rows = [feature.rows() for feature in features]
        mask = features[0].mask
        projected = [
            projection(batch_norm(cast(_BatchNorm, norm), row), mask)
            for projection, norm, row in zip(
                self.projections, self.norms, rows, strict=True
            )
        ]
        x = rows_to_dense(
            torch.stack(projected).sum(0),
            mask,
            self.out_stride,
            self.mask_token,
        )
        x = self.norm(self.blocks(x).permute(0, 2, 3, 1))
        return self.to_tokens(x).permute(0, 3, 1, 2)
