"""Teacher and student of a distillation in the form that peers call.

Nothing here needs a peer to be installed.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mmhgkd.teachers import BaseTeacher
from mmhgkd.utils import ConfigError


class TeacherAdapter(nn.Module):
    """Gives a peer the very targets that this project's student imitates.

    It has what the distillations of lightly-train ask of a teacher: the
    global feature is the mean of the tokens, the local ones are the tokens
    as a map.

    Args:
        teacher (BaseTeacher): The teacher, which knows how images are
            normalized.

    Raises:
        ConfigError: If it sees the student's mask, which peers do not have.
    """

    def __init__(self, teacher: BaseTeacher) -> None:
        super().__init__()
        if teacher.input != 'full':
            raise ConfigError(
                'peers mask nothing, so the teacher must see whole images: '
                "set `model.teacher.input='full'`"
            )
        self.teacher = teacher
        self.embed_dim = teacher.embed_dims

    def token_map(self, images: Tensor) -> Tensor:
        """The tokens as a map, ``(B, D, h, w)``."""
        tokens = self.teacher(images)
        grid = self.teacher.grid(*images.shape[-2:])
        return tokens.transpose(1, 2).unflatten(2, grid)

    def forward(self, images: Tensor) -> Tensor:
        """Mean of the tokens, ``(B, D)``."""
        return self.teacher(images).mean(1)

    def get_intermediate_layers(
        self, images: Tensor, n: int = 1, reshape: bool = True
    ) -> tuple[Tensor]:
        """The one layer that there is, ``(B, D, h, w)``."""
        if n != 1 or not reshape:
            raise ValueError('this teacher has one layer, as a map')
        return (self.token_map(images),)

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """The tokens as ``features``, ``(B, D, h, w)``."""
        return dict(features=self.token_map(images))

    def forward_pool(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Their mean as ``pooled_features``, ``(B, D, 1, 1)``."""
        return _mean(features)

    def feature_dim(self) -> int:
        """Width ``D`` of a token."""
        return self.embed_dim

    def get_model(self) -> nn.Module:
        """The teacher itself."""
        return self.teacher


class StudentWrapper(nn.Module):
    """A backbone as a custom model of lightly-train.

    Args:
        backbone (nn.Module): Returns the maps of its stages.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        backbone.eval()
        with torch.no_grad():
            self.width = backbone(torch.zeros(1, 3, 64, 64))[-1].size(1)
        # Lightning leaves every module in the mode in which it finds it.
        self.train()

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """The last map as ``features``, ``(B, C, h, w)``."""
        return dict(features=self.backbone(images)[-1])

    def forward_pool(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Its mean as ``pooled_features``, ``(B, C, 1, 1)``."""
        return _mean(features)

    def feature_dim(self) -> int:
        """Channels ``C`` of the last map."""
        return self.width

    def get_model(self) -> nn.Module:
        """The backbone itself."""
        return self.backbone

    def architecture_info(self) -> dict[str, Any]:
        """What lightly-train chooses a weight decay by."""
        return dict(model_type='convolutional', norm_type='batchnorm')


def _mean(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(pooled_features=features['features'].mean((2, 3), True))
