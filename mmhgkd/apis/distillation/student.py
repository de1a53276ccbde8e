"""The network of a student, and what it costs."""

import copy
from typing import Any

import timm
import torch
import torchvision
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmhgkd.catalog import student_backbone, suggest
from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

_SIZE = 64  #: of the image that a network is tried on


def stages(backbone: dict[str, Any]) -> list[tuple[int, int]]:
    """Channels and stride of each stage of a student."""
    network = _build(backbone)
    with torch.no_grad():
        found = network(torch.zeros(1, 3, _SIZE, _SIZE))
    return [(row.size(1), _SIZE // row.size(2)) for row in found]


def _build(backbone: dict[str, Any]) -> Any:
    """Build a student; what it cannot be made of is told in one line."""
    try:
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            network = MODELS.build(copy.deepcopy(dict(backbone)))
    except ConfigError as error:
        first, *lines = str(error).splitlines()
        more = f' and {len(lines) - 1} more' if len(lines) > 1 else ''
        reason = ' '.join([first, *lines[:1]])
        if not lines:
            raise
        raise ConfigError(
            f'{reason}{more}; take another student (`mmhgkd students WORD` '
            'finds those that work)'
        ) from error
    network.train(False)
    return network


def backbone_of(student: str) -> dict[str, Any]:
    """Config of the backbone of a student.

    Raises:
        ConfigError: If its library has no such network.
    """
    library, _, network = student.partition('/')
    known: list[str] = []
    if library == 'timm':
        known = timm.list_models()
    elif library == 'torchvision':
        models = torchvision.models
        known = models.list_models(models)
    if known and network not in known:
        raise ConfigError(
            f'{library} has no network {network!r}{suggest(network, known)}'
        )
    return student_backbone(student)


def has_grouped_convolutions(backbone: dict[str, Any]) -> bool:
    """Whether convolutions of a student leave out some channels."""
    return any(
        isinstance(layer, nn.Conv2d) and layer.groups > 1
        for layer in _build(backbone).modules()
    )


def multiply_adds(backbone: dict[str, Any], size: int) -> float:
    """Millions of multiply-adds of a student for one image.

    Args:
        backbone (dict): Config of the student.
        size (int): Side of the image in pixels.
    """
    network = _build(backbone)
    total = 0

    def count(layer: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        # Each value of the output is a sum over one filter.
        total += output.numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, _SIZE, _SIZE))
    return total * (size / _SIZE) ** 2 / 1e6
