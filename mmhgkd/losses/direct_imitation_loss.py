from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmhgkd.necks import GridProjection
from mmhgkd.registry import MODELS
from mmhgkd.sparse import SparseFeature
from mmhgkd.utils import ConfigError, one_of
from mmhgkd.utils.value_checks import check_weight

from .feature_imitation_loss import DISTANCES, token_distance


@MODELS.register_module()
class DirectImitationLoss(BaseModule):
    """``L_direct``: stages of the encoder imitate the teacher's tokens.

    A projection turns the positions of a stage into the tokens that they
    cover, and these are compared with the teacher's where the student sees
    the image: everywhere, if nothing is masked. No decoder stands between
    the imitation and the stage, and no skip connection lets an earlier stage
    do its work. H-GKD (arXiv 2309.09571) has no such loss; it is an addition
    of this project.

    Args:
        in_channels (int or Sequence[int]): Channels of each stage; a number
            alone means one stage. Defaults to (1024, 2048).
        out_channels (int): Width of the teacher's tokens, ``D``.
            Defaults to 768.
        stages (Sequence[int], optional): Features of the backbone, counted
            from the last, which is -1. Each has a projection of its own, and
            their losses are averaged. Defaults to None, which means the last
            ones, as many as ``in_channels`` has.
        strides (int or Sequence[int], optional): Pixels between two
            positions of each stage. Defaults to None, which means 32 for the
            last stage, and half as many for each one before.
        out_stride (int): Pixels between two tokens. Defaults to 16.
        projector (str): 'linear' or 'mlp', see :class:`GridProjection`.
            Defaults to 'linear'.
        distance (str): See :class:`FeatureImitationLoss`. Defaults to 'mse'.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: If the options are out of range or do not fit together.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int] = (1024, 2048),
        out_channels: int = 768,
        stages: Sequence[int] | None = None,
        strides: int | Sequence[int] | None = None,
        out_stride: int = 16,
        projector: str = 'linear',
        distance: str = 'mse',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(dict(type='TruncNormal', layer='Linear', std=0.02))
        if isinstance(in_channels, int):
            in_channels = (in_channels,)
        if stages is None:
            stages = range(-len(in_channels), 0)
        if max(stages, default=-1) >= 0:
            raise ConfigError(
                'direct_loss `stages` counts from the last feature, -1, -2 '
                f'and so on, got {list(stages)}'
            )
        if strides is None:
            strides = [max(64 >> -stage, 1) for stage in stages]
        if isinstance(strides, int):
            strides = (strides,)
        if not stages or not len(stages) == len(in_channels) == len(strides):
            raise ConfigError(
                'direct_loss `stages`, `in_channels` and `strides` must name '
                f'the same stages, at least one, got {list(stages)}, '
                f'{list(in_channels)} and {list(strides)}'
            )
        one_of('direct_loss `distance`', distance, DISTANCES)
        self.stages = tuple(stages)
        self.out_channels = out_channels
        self.out_stride = out_stride
        self.distance = distance
        check_weight('direct_loss `loss_weight`', loss_weight)
        self.loss_weight = loss_weight
        self.projections = nn.ModuleList(
            GridProjection(
                channels, out_channels, stride, out_stride, projector
            )
            for channels, stride in zip(in_channels, strides, strict=True)
        )

    def forward(
        self, features: Sequence[SparseFeature], target: Tensor
    ) -> Tensor:
        """Mean distance over the tokens that the student sees.

        Args:
            features (Sequence[SparseFeature]): Of the backbone's stages.
            target (Tensor): Tokens of the teacher, ``(B, L, D)``.

        Returns:
            Tensor: Weighted scalar.

        Raises:
            ConfigError: If the features are not those of ``in_channels``.
        """
        seen = self._visible(features, target)
        distances = [
            token_distance(tokens, seen, self.distance).mean()
            for tokens in self.project(features)
        ]
        return self.loss_weight * torch.stack(distances).mean()

    def project(self, features: Sequence[SparseFeature]) -> list[Tensor]:
        """Tokens that each stage predicts at the places that it sees.

        Args:
            features (Sequence[SparseFeature]): Of the backbone's stages.

        Returns:
            list[Tensor]: One a stage, ``(B * V, D)`` in packed order.

        Raises:
            ConfigError: If the features are not those of ``in_channels``.
        """
        self.check_maps(
            [feature.values.size(1) for feature in features],
            [feature.stride for feature in features],
        )
        return [
            projection(features[stage].rows(), features[stage].mask)
            for stage, projection in zip(
                self.stages, self.projections, strict=True
            )
        ]

    def check_maps(
        self, channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        """Check that the projections fit the maps of a backbone.

        Args:
            channels (Sequence[int]): Of each map.
            strides (Sequence[int]): Of each map.

        Raises:
            ConfigError: If a stage is not there, or is another one.
        """
        for stage, projection in zip(
            self.stages, self.projections, strict=True
        ):
            if -stage > len(channels):
                raise ConfigError(
                    f'direct_loss `stages` names {stage}, but the backbone '
                    f'gives {len(channels)} features; set `stages` to those '
                    'from -1 on, or `backbone.out_indices` to more of them'
                )
            found = (channels[stage], strides[stage])
            expected = (projection.in_channels, projection.stride)
            if found != expected:
                raise ConfigError(
                    f'feature {stage} of the backbone has {found[0]} '
                    f'channels and a stride of {found[1]} px, the projection '
                    f'takes {expected[0]} and {expected[1]}; set direct_loss '
                    f'`in_channels` to {found[0]} and `strides` to {found[1]}'
                )

    def _visible(
        self, features: Sequence[SparseFeature], target: Tensor
    ) -> Tensor:
        """Teacher's tokens at visible places, ``(B * V, D)``."""
        places = features[-1].mask.positions(self.out_stride)[..., None]
        return target.gather(1, places.expand(-1, -1, target.size(2))).flatten(
            0, 1
        )
