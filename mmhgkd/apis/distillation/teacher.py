import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmhgkd.catalog import (
    TEACHERS,
    TeacherEntry,
    cached_teacher,
    fetch_teacher,
    find_teacher,
)
from mmhgkd.catalog.teachers import AUTO_ORDER, SHIPPED
from mmhgkd.teachers.checkpoint import (
    TIMM_NAMES,
    State,
    read_checkpoint,
    read_state_dict,
    rename,
    strip_prefix,
)
from mmhgkd.transfer.converters.foreign import find_vit
from mmhgkd.utils import ConfigError
from mmhgkd.utils.stored_config import parse_config

from ..configs import load_config

#: Pixels between two tokens of the student.
STRIDE = 16
_DEPTHS = {192: 12, 384: 12, 768: 12, 1024: 24}
_SHIPPED = 'hgkd/r18_scenes'


@dataclass(frozen=True)
class Teacher:
    """A teacher that is ready to be put into a config.

    Args:
        config (dict): Of the network, for ``model.teacher``.
        width (int): Channels of a token.
        patch_size (int): Side of a patch in pixels.
        title (str): What it is, in a line.
        image_size (int, optional): The one size of the student's images that
            goes with it. Defaults to None, which means any.
        warning (str): What to mind. Defaults to ''.
        millions (float): Parameters of its network. Defaults to 0.
        one_size (bool): Whether its network is built for images of one size,
            which ``model_args`` says. Defaults to False.
    """

    config: dict[str, Any]
    width: int
    patch_size: int
    title: str
    image_size: int | None = None
    warning: str = ''
    millions: float = 0
    one_size: bool = False

    def multiply_adds(self, size: int) -> float:
        """Millions for one image of the student: each token meets each weight.

        Args:
            size (int): Side of the student's image in pixels.
        """
        return self.millions * (size // STRIDE) ** 2

    def for_images(self, size: int) -> dict[str, Any]:
        """Its config for a student that sees images of that many pixels.

        The teacher has one token for each 16 px of the student's image.

        Raises:
            ConfigError: If it cannot work on such images.
        """
        if self.image_size not in (None, size):
            raise ConfigError(
                f'this teacher goes with images of {self.image_size} px, not '
                f'of {size}; leave the image size out'
            )
        own = size * self.patch_size // STRIDE
        if self.one_size:
            return {**self.config, 'model_args': {'img_size': own}}
        return {**self.config, **({} if own == size else {'input_size': own})}


def choose_teacher(teacher: str | Path) -> Teacher:
    """Find the teacher of a distillation.

    Args:
        teacher (str or Path): Name of one of ``TEACHERS``, a file, 'shipped',
            the small one that comes with this project, or 'auto': one that is
            on this machine, else 'shipped'.

    Raises:
        ConfigError: If there is no such teacher, or it cannot be had.
    """
    if not isinstance(teacher, (str, os.PathLike)):
        raise ConfigError(
            f'`teacher` must be a name or a checkpoint, got {teacher!r}'
        )
    if str(teacher) == SHIPPED:
        return shipped_teacher()
    if str(teacher) != 'auto':
        if Path(teacher).expanduser().is_file():
            return read_teacher(Path(teacher).expanduser())
        entry = find_teacher(str(teacher))
        return _by_name(entry, fetch_teacher(entry))
    for name in AUTO_ORDER:
        path = cached_teacher(TEACHERS[name])
        if path is not None:
            return _by_name(TEACHERS[name], path, ', found on this machine')
    return shipped_teacher()


def shipped_teacher() -> Teacher:
    """The small teacher that this project carries."""
    config = load_config(_SHIPPED).model.teacher.to_dict()
    backbone = config['backbone']
    return Teacher(
        config,
        backbone['arch']['embed_dims'],
        backbone['patch_size'],
        'the small MAE that comes with mmhgkd (2.3 M parameters, 96 px)',
        backbone['img_size'],
        'this teacher has seen drawn scenes only and knows nothing of photos; '
        'pass --teacher NAME (`mmhgkd teachers` lists them), or '
        '--train-teacher to train one on your photos first',
        millions=_millions(backbone['arch']),
    )


def read_teacher(path: Path) -> Teacher:
    """Find out what network the weights in a file belong to.

    Raises:
        ConfigError: If they are those of no teacher.
    """
    content = read_checkpoint(str(path))
    meta = content.get('meta') if isinstance(content, Mapping) else None
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    if isinstance(text, str):
        backbone = _of_run(parse_config(text, str(path)), path)
        return _by_backbone(backbone, path, 'trained with mmhgkd')
    state = read_state_dict(str(path))
    if any(key.startswith('backbone.') for key in state):
        state = strip_prefix(state, 'backbone.')
    state = {rename(key, TIMM_NAMES): value for key, value in state.items()}
    entry = _recognize(state)
    if entry is not None:
        return _by_name(entry, path, f', from {path.name}')
    projection = state.get('patch_embed.proj.weight')
    if projection is None:
        raise ConfigError(
            f'{path} holds no Vision Transformer; a teacher is a checkpoint '
            'of MAE, BEiT, DINO or of `mmhgkd train mae/...`'
        )
    found = find_vit(state, str(path), projection.size(0) // 64)
    assert found is not None
    return _by_backbone(found[0], path, 'recognized by its weights')


def _of_run(config: dict[str, Any], path: Path) -> dict[str, Any]:
    backbone = dict((config.get('model') or {}).get('backbone') or {})
    if backbone.get('type') != 'MAEViT':
        raise ConfigError(
            f'{path} is a checkpoint of {backbone.get("type", "no backbone")}'
            ', and a teacher is a Vision Transformer; give one of '
            '`mmhgkd train mae/...`'
        )
    backbone.pop('mask_ratio', None)
    return backbone


def _recognize(state: State) -> TeacherEntry | None:
    """One of ``TEACHERS`` with the same layers as the weights, or None."""
    projection = state.get('patch_embed.proj.weight')
    if projection is None or any('relative_position' in key for key in state):
        return None
    width, patch = projection.size(0), projection.size(-1)
    depth = len({k.split('.')[1] for k in state if k.startswith('blocks.')})
    if 'pos_embed' not in state:
        methods: tuple[str, ...] = ('DINOv3',)
    elif 'reg_token' in state or 'register_tokens' in state:
        methods = ('DINOv2 with registers',)
    elif any(key.endswith('ls1.gamma') for key in state):
        methods = ('DINOv2',)
    else:
        methods = ('MAE', 'DINO')  # the same layers
    for entry in TEACHERS.values():
        if (
            entry.method in methods
            and (entry.width, entry.patch_size) == (width, patch)
            and 'plus' not in entry.name
            and _DEPTHS[width] == depth
        ):
            return entry
    return None


def _by_name(entry: TeacherEntry, path: Path, origin: str = '') -> Teacher:
    warning = ''
    if entry.non_commercial:
        warning = (
            f'the licence of this teacher, {entry.licence}, forbids '
            'commercial use, which may hold for its student too'
        )
    return Teacher(
        dict(
            type='mmhgkd.TimmTeacher',
            model_name=entry.name,
            checkpoint=str(path),
        ),
        entry.width,
        entry.patch_size,
        f'{entry.name} ({entry.method}, {entry.millions:.0f} M parameters, '
        f'{entry.licence}){origin}',
        warning=warning,
        millions=entry.millions,
        one_size=entry.one_size,
    )


def _by_backbone(backbone: dict[str, Any], path: Path, origin: str) -> Teacher:
    arch = backbone['arch']
    if not isinstance(arch, Mapping):
        raise ConfigError(
            f'{path}: the size {arch!r} of its network is a name'
        )
    patch = backbone['patch_size']
    return Teacher(
        dict(
            type='mmhgkd.MIMTeacher', backbone=backbone, checkpoint=str(path)
        ),
        arch['embed_dims'],
        patch,
        f'{path} ({backbone["type"]}, {origin})',
        backbone['img_size'] * STRIDE // patch,
        millions=_millions(arch),
    )


def _millions(arch: Mapping[str, int]) -> float:
    """Parameters of the blocks of a ViT: attention has four squares."""
    width, hidden = arch['embed_dims'], arch['feedforward_channels']
    return arch['num_layers'] * width * (4 * width + 2 * hidden) / 1e6
