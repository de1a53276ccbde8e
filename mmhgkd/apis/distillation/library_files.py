"""Files of students that are networks of timm, torchvision or mmpretrain."""

from pathlib import Path
from typing import Any

import timm
import torchvision

from mmhgkd.transfer.converters.student import Student
from mmhgkd.transfer.converters.weights_file import (
    partial_file,
    write_weights,
)
from mmhgkd.utils import ConfigError

_PREFIXES = {'timm': 'timm_model.', 'torchvision': 'model.'}
_BACKBONES = {'TIMMBackbone': 'timm', 'TorchvisionBackbone': 'torchvision'}


def library_of(student: Student) -> str | None:
    """The library that a student was taken from, None for ours."""
    if 'network' not in student.backbone:
        return None
    kind = student.backbone['network']['type'].rpartition('.')[2]
    return _BACKBONES.get(kind, 'mmpretrain')


def write_in_library(student: Student, out: Path) -> None:
    """Write the weights under the names that the library gives them.

    Raises:
        ConfigError: If the library's own network does not take them.
    """
    library = library_of(student)
    assert library is not None
    prefix = _PREFIXES[library]
    state = {
        key.removeprefix(prefix): value
        for key, value in student.weights.items()
    }
    name = student.backbone['network']['model_name']
    network: Any
    if library == 'timm':
        network = timm.create_model(name, num_classes=0)
    else:
        network = torchvision.models.get_model(name)
    missing, unexpected = network.load_state_dict(state, strict=False)
    heads = ('fc.', 'classifier.')
    missing = [key for key in missing if not key.startswith(heads)]
    if missing or unexpected:
        raise ConfigError(
            f"{library}'s {name} lacks {missing} and does not know "
            f'{unexpected}'
        )
    with partial_file(out) as path:
        write_weights(path, state, {'network': f'{library} {name}'})
