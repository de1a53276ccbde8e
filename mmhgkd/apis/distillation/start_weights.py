from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmhgkd.registry import MODELS
from mmhgkd.teachers.checkpoint import (
    State,
    find_differences,
    read_state_dict,
    rename,
    strip_prefix,
    summarize,
)
from mmhgkd.transfer.converters.dense import dense_student
from mmhgkd.transfer.converters.libraries import (
    TimmLayout,
    TorchvisionLayout,
)
from mmhgkd.transfer.converters.student import Student, student_config
from mmhgkd.utils import ConfigError

#: What the networks of timm and torchvision are called within a student.
_LIBRARIES = ('timm_model.', 'model.')
_HEADS = ('fc.', 'head.', 'classifier.', 'neck.')


def write_start_weights(source: str | Path, config: Config, out: Path) -> Path:
    """Bring weights to the names of the student that starts from them.

    Args:
        source (str or Path): Checkpoint of this project, mmpretrain,
            torchvision or timm, pre-trained or supervised; a head is left
            out.
        config (Config): Of the distillation.
        out (Path): File to write.

    Returns:
        Path: The file.

    Raises:
        ConfigError: If the weights do not fit the student.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise ConfigError(
            f'the file {source} of `student_weights` does not exist'
        )
    state = read_state_dict(str(path), 'student_weights')
    if any(key.startswith('backbone.') for key in state):
        state = strip_prefix(state, 'backbone.')
    backbone = dict(config.model.backbone)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network: Any = MODELS.build(backbone)
    own = network.state_dict()
    candidates = [
        {k: v for k, v in state.items() if not k.startswith(_HEADS)},
        *_renamed(state, own, config),
    ]
    if any(key.startswith(_LIBRARIES) for key in own):
        candidates = _of_library(state, own)
    for candidate in candidates:
        if not any(find_differences(own, candidate).values()):
            out.parent.mkdir(parents=True, exist_ok=True)
            torch.save(dict(state_dict=candidate), out)
            return out
    lines = '; '.join(summarize(find_differences(own, candidates[0])))
    raise ConfigError(
        f'the weights in {source} do not fit the student '
        f'{backbone["type"]} ({lines}); choose the student that they are of'
    )


def set_start_weights(config: Config, weights: Path) -> None:
    """Let the student of a config start from a file of its own weights."""
    backbone = config.model.backbone
    if 'network' in backbone:
        backbone = backbone.network
    backbone.init_cfg = dict(type='Pretrained', checkpoint=str(weights))


def _of_library(state: State, own: State) -> list[State]:
    """The weights with the prefix of their library, without their head."""
    prefix = next(key for key in own if key.startswith(_LIBRARIES))
    prefix = prefix[: prefix.index('.') + 1]
    named = {
        key if key.startswith(prefix) else prefix + key: value
        for key, value in state.items()
    }
    heads = tuple(prefix + head for head in _HEADS)
    return [
        {k: v for k, v in named.items() if k in own or not k.startswith(heads)}
    ]


def _renamed(state: State, own: State, config: Config) -> list[State]:
    """The weights as those of torchvision and timm, in the student's names.

    The inverse of an export: both networks have their layers in one order.
    """
    found = []
    try:
        student = dense_student(Student('', student_config(config), {}))
    except ConfigError:  # a network that no library has
        return []
    for layout in (TorchvisionLayout(), TimmLayout()):
        try:
            other = layout.build(student).state_dict()
        except (ConfigError, KeyError):
            continue
        heads = {
            f'{name}.{tensor}'
            for name in layout._head(student).values()
            for tensor in ('weight', 'bias')
        }
        patterns = layout.names.get(student.family)
        if patterns is not None:
            pairs = [(key, rename(key, patterns)) for key in own]
        else:
            keys = [key for key in other if key not in heads]
            if len(keys) != len(own):
                continue
            pairs = list(zip(own, keys, strict=True))
        rest = {k: v for k, v in state.items() if k not in heads}
        if {new for _, new in pairs} == set(rest):
            found.append(
                {
                    old: rest[new].reshape(own[old].shape)
                    for old, new in pairs
                    if rest[new].numel() == own[old].numel()
                }
            )
    return found
