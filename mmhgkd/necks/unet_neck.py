from collections.abc import Sequence
from itertools import pairwise

from mmengine.model import BaseModule
from mmpretrain.models.necks.spark_neck import ConvBlock2x, DecoderConvModule
from torch import Tensor, nn

from mmhgkd.registry import MODELS
from mmhgkd.sparse import SparseFeature
from mmhgkd.utils import ConfigError

from .densify import Densify, check_features, check_options


@MODELS.register_module()
class UNetNeck(BaseModule):
    """UNet-like decoder from sparse features to teacher-like patch tokens.

    The sparse features of all scales are densified; starting at the smallest,
    each block doubles the resolution and the next scale is added, as in
    SparK's decoder. A last convolution with kernel = stride turns the finest
    map into tokens of the teacher's grid.

    Args:
        in_channels (tuple[int]): Channels of the features, finest first.
            Defaults to (256, 512, 1024, 2048), which fits ResNet-50.
        out_channels (int): Width ``D`` of a token. Defaults to 768.
        out_stride (int): Pixels between two tokens, a multiple of the finest
            stride. Defaults to 16.
        width (int): Channels of the smallest map; halved at each scale.
            Defaults to 768.
        depth (int): Two-convolution blocks at each scale. Defaults to 1.
        finest_stride (int): Stride of the first feature; it doubles from
            feature to feature. Defaults to 4.
        norm_cfg (dict, optional): Config of the norm layers. Defaults to
            None, which means batch norm synchronized over ranks.
        init_cfg (dict or list[dict], optional): Config of the
            initialization. Defaults to None, which means Kaiming.

    Raises:
        ConfigError: If the widths or strides do not fit.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        out_channels: int = 768,
        out_stride: int = 16,
        width: int = 768,
        depth: int = 1,
        finest_stride: int = 4,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            init_cfg
            or [
                dict(type='Kaiming', layer=['Conv2d', 'ConvTranspose2d']),
                dict(type='Constant', val=1, layer=['_BatchNorm']),
            ]
        )
        check_options(
            in_channels, out_channels, out_stride, width, depth, finest_stride
        )
        scales = len(in_channels)
        if width % 2 ** (scales - 1):
            raise ConfigError(
                f'neck `width` is halved at each of the {scales} scales; '
                f'{width} is no multiple of {2 ** (scales - 1)}'
            )
        if out_stride % finest_stride:
            raise ConfigError(
                f'neck `out_stride` must be a multiple of the '
                f'finest stride {finest_stride}, got '
                f'{out_stride}'
            )
        norm_cfg = norm_cfg or dict(type='mmhgkd.DistributedBatchNorm')
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        self.out_stride = out_stride
        self.finest_stride = finest_stride
        widths = [width // 2**index for index in range(scales)]
        # SparK projects the smallest map by a 1x1, where a 3x3 would mix
        # units that lie a whole stride apart.
        self.densify = nn.ModuleList(
            [
                Densify(
                    channels, widths[index], 1 if index == 0 else 3, norm_cfg
                )
                for index, channels in enumerate(reversed(in_channels))
            ]
        )
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(
                    DecoderConvModule(
                        above, below, above, norm_cfg=norm_cfg, last_act=False
                    ),
                    *[
                        ConvBlock2x(
                            below,
                            below,
                            below,
                            norm_cfg,
                            dict(type='ReLU6'),
                            False,
                        )
                        for _ in range(depth - 1)
                    ],
                )
                for above, below in pairwise(widths)
            ]
        )
        kernel = out_stride // finest_stride
        self.to_tokens = nn.Conv2d(widths[-1], out_channels, kernel, kernel)

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
        first, *rest = reversed(features)
        x = self.densify[0](first)
        for block, densify, feature in zip(
            self.blocks, self.densify[1:], rest, strict=True
        ):
            x = block(x) + densify(feature)
        return self.to_tokens(x)
