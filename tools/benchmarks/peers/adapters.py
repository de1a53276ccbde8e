"""Photos, teacher and student of a distillation in the form that peers take.

Nothing here needs a peer to be installed.
"""

import argparse
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from mmhgkd.registry import DATASETS, MODELS
from mmhgkd.teachers import BaseTeacher
from mmhgkd.utils import ConfigError, load_config

#: What is switched off so that crops and flips are the only augmentation.
_OFF = ('color_jitter', 'random_gray_scale', 'gaussian_blur')


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


def read_config(args: argparse.Namespace) -> Config:
    """The config of the student, with photos and teacher of the options.

    Raises:
        ConfigError: If it is no distillation.
    """
    cfg = load_config(args.config, args.cfg_options)
    if args.teacher and args.teacher.endswith('.py'):
        other = load_config(args.teacher)
        _require(other, args.teacher, 'teacher')
        cfg.model.teacher = other.model.teacher
    _require(cfg, args.config, 'teacher', 'backbone')
    if args.teacher and not args.teacher.endswith('.py'):
        cfg.model.teacher.checkpoint = args.teacher
    # What the peer trains in is its own affair.
    cfg.model.teacher.pop('precision', None)
    cfg.train_dataloader.dataset.data_root = args.data
    cfg.train_dataloader.batch_size = args.batch_size
    return cfg


def _require(cfg: Config, source: str, *parts: str) -> None:
    for part in parts:
        if part not in (cfg.get('model') or {}):
            raise ConfigError(
                f'{source}: has no `model.{part}`; give a config of a '
                'distillation, such as configs/hgkd/r18_scenes.py'
            )


def build(cfg: Config, seed: int) -> tuple[TeacherAdapter, StudentWrapper]:
    """Build teacher and student as the training of this project does.

    The whole model is built, so that the student begins with the weights
    that ``tools/train.py`` gives it under the same seed.
    """
    set_random_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(
            {'data_preprocessor': cfg.data_preprocessor, **cfg.model}
        )
    # Every weight has a line of its own otherwise.
    MMLogger.get_current_instance().setLevel('WARNING')
    model.init_weights()
    return TeacherAdapter(model.teacher), StudentWrapper(model.backbone)


def find_photos(cfg: Config) -> list[str]:
    """The files that the training of the config sees."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        data = DATASETS.build(cfg.train_dataloader.dataset)
    return [data.get_data_info(x)['img_path'] for x in range(len(data))]


def transform_args(cfg: Config, kind: str) -> dict[str, Any]:
    """Options of lightly-train's augmentation.

    Args:
        cfg (Config): Its training crops and flips are taken over.
        kind (str): 'same' or 'own'.

    Raises:
        ConfigError: If the config crops in another way.
    """
    steps = {
        step['type'].rpartition('.')[2]: step
        for step in cfg.train_dataloader.dataset.pipeline
    }
    crop = steps.get('RandomResizedCrop')
    if crop is None or not isinstance(crop['scale'], int):
        raise ConfigError(
            '`train_dataloader.dataset.pipeline` needs a RandomResizedCrop '
            'to a square for a peer to do the same'
        )
    norm = cfg.data_preprocessor
    result: dict[str, Any] = dict(
        image_size=(crop['scale'], crop['scale']),
        normalize={
            name: tuple(round(x / 255, 6) for x in norm[name])
            for name in ('mean', 'std')
        },
    )
    if kind == 'own':
        return result
    area = crop.get('crop_ratio_range', (0.08, 1.0))
    ratio = crop.get('aspect_ratio_range', (3 / 4, 4 / 3))
    return dict(
        **result,
        random_resize=dict(
            min_scale=float(area[0]),
            max_scale=float(area[1]),
            min_ratio=float(ratio[0]),
            max_ratio=float(ratio[1]),
        ),
        random_flip=dict(
            horizontal_prob=float(steps.get('RandomFlip', {}).get('prob', 0)),
            vertical_prob=0.0,
        ),
        **dict.fromkeys(_OFF),
    )
