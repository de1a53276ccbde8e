import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from mmhgkd.utils import ConfigError

from .dense import outputs
from .layout import Layout
from .preprocessing import weights_metadata
from .student import State, Student
from .weights_file import torch_file


class OpenMMLabLayout(Layout):
    """Checkpoints of MMPretrain, MMDetection and MMSegmentation.

    The keys are the same for all of them, and start with ``backbone.``. The
    config of the network lies beside them, so that the file describes
    itself.

    Args:
        name (str): 'mmpretrain', 'mmdet' or 'mmseg': the library whose
            network reads the file back.
    """

    # MMEngine reads no safetensors.
    suffixes = ('.pth',)

    def __init__(self, name: str) -> None:
        self.name = name

    def describe(self, student: Student) -> str:
        """See :class:`Layout`."""
        if find_spec(self.name) is None:
            raise ConfigError(
                f'the layout {self.name} is verified with {self.name}, which '
                f'is not installed; run `pip install "mmhgkd['
                f'{self.name.removeprefix("mm")}]"`, or take the layout '
                'mmpretrain, whose keys are the same'
            )
        return f'{self.name} {self._network(student)["type"]}'

    def write(self, student: Student, model: BaseModel, path: Path) -> int:
        """See :class:`Layout`."""
        write_checkpoint(path, student.config, student.state, student.classes)
        return len(student.state)

    def load(self, student: Student, path: Path) -> nn.Module:
        """See :class:`Layout`."""
        with DefaultScope.overwrite_default_scope(self.name):
            if self.name == 'mmpretrain':
                model = MODELS.build(student.config.model)
            else:
                model = MODELS.build(self._network(student))
        prefix = '' if self.name == 'mmpretrain' else 'backbone.'
        missing = read_back(model, path, student.state, prefix)
        if missing:
            raise ConfigError(
                f'{path}: {self.describe(student)} has more, {missing}'
            )
        model.train(False)
        return model

    def outputs(
        self, student: Student, model: nn.Module, images: Tensor
    ) -> dict[str, Tensor]:
        """See :class:`Layout`."""
        if self.name == 'mmpretrain':
            return outputs(model, images)
        with torch.no_grad():
            last = model(images)[-1]
        return {'embedding': last if last.ndim == 2 else last.mean((2, 3))}

    def usage(self, student: Student, path: Path) -> str:
        """See :class:`Layout`."""
        # A matter of the task, not of the weights.
        task = ('out_indices', 'gap_before_final_norm')
        network = self._network(student)
        return backbone_usage(
            {k: v for k, v in network.items() if k not in task}, path
        )

    def _network(self, student: Student) -> dict[str, Any]:
        options = student.backbone
        scope, _, kind = student.family.rpartition('.')
        if scope == self.name:
            options['type'] = kind
        elif self.name != 'mmpretrain' and student.family != 'ResNet':
            # Their own ones differ from mmpretrain's, or are missing.
            options['type'] = f'{scope or "mmpretrain"}.{kind}'
        return options


def write_checkpoint(
    path: Path,
    config: Config,
    state: State,
    classes: Sequence[str] = (),
) -> None:
    """Write weights as MMEngine does, with the config of the model."""
    meta: dict[str, Any] = {'cfg': config.pretty_text}
    if 'test_dataloader' in config:
        meta['preprocessing'] = weights_metadata(config)
    if classes:
        meta['dataset_meta'] = {'classes': list(classes)}
    path.write_bytes(torch_file({'meta': meta, 'state_dict': state}))


def read_back(
    model: nn.Module, path: Path, state: State, prefix: str = ''
) -> list[str]:
    """Load the part ``prefix`` of a file by MMEngine.

    Returns:
        list[str]: Keys of the network that the file lacks.

    Raises:
        ConfigError: If a tensor of ``state``, which was written, is lost.
    """
    patterns = [(f'^{re.escape(prefix)}', '')]
    load_checkpoint(model, str(path), revise_keys=patterns, logger='silent')
    own = {f'{prefix}{k}': v for k, v in model.state_dict().items()}
    lost = [
        key
        for key, value in state.items()
        if key.startswith(prefix)
        and (key not in own or not torch.equal(own[key], value))
    ]
    if lost:
        raise ConfigError(f'{path}: read back, {", ".join(lost)} differ')
    return [key for key in own if key not in state]


def backbone_usage(network: Mapping[str, Any], path: Path) -> str:
    """Part of a config that takes the backbone from a file."""
    options = ''.join(f'    {k}={v!r},\n' for k, v in network.items())
    return (
        f'backbone = dict(\n{options}'
        '    init_cfg=dict(\n'
        "        type='Pretrained',\n"
        f"        checkpoint='{path}',\n"
        "        prefix='backbone.'))"
    )
