import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from mmhgkd.utils import ConfigError

from . import student as student_module
from .layout import Layout
from .student import Student


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

    def write(self, student: Student, path: Path) -> int:
        """See :class:`Layout`."""
        state = {
            **_prefixed('backbone.', student.weights),
            **_prefixed('head.', student.head_weights),
        }
        meta: dict[str, Any] = {
            'cfg': Config({'model': student.classifier()}).pretty_text
        }
        if student.classes:
            meta['dataset_meta'] = {'classes': list(student.classes)}
        buffer = io.BytesIO()
        torch.save({'meta': meta, 'state_dict': state}, buffer)
        path.write_bytes(buffer.getvalue())
        return len(state)

    def load(self, student: Student, path: Path) -> nn.Module:
        """See :class:`Layout`."""
        if self.name == 'mmpretrain':
            with DefaultScope.overwrite_default_scope('mmpretrain'):
                model = MODELS.build(Config(student.classifier()))
            try:
                load_checkpoint(model, str(path), strict=True)
            except RuntimeError as error:
                raise ConfigError(f'{path}: read back: {error}') from error
        else:
            with DefaultScope.overwrite_default_scope(self.name):
                model = MODELS.build(
                    {
                        **self._network(student),
                        'init_cfg': dict(
                            type='Pretrained',
                            checkpoint=str(path),
                            prefix='backbone.',
                        ),
                    }
                )
            model.init_weights()
            own = model.state_dict()
            lost = [
                key
                for key, value in student.weights.items()
                if key not in own or not torch.equal(own[key], value)
            ]
            if lost or len(own) != len(student.weights):
                raise ConfigError(
                    f'{path}: {self.describe(student)} has not read {lost}'
                )
        model.train(False)
        return model

    def outputs(
        self, student: Student, model: nn.Module, images: Tensor
    ) -> dict[str, Tensor]:
        """See :class:`Layout`."""
        if self.name == 'mmpretrain':
            return student_module.outputs(model, images)
        with torch.no_grad():
            last = model(images)[-1]
        return {'embedding': last if last.ndim == 2 else last.mean((2, 3))}

    def usage(self, student: Student, path: Path) -> str:
        """See :class:`Layout`."""
        network = self._network(student)
        for option in ('out_indices', 'gap_before_final_norm'):
            # A matter of the task, not of the weights.
            network.pop(option, None)
        options = ''.join(f'    {k}={v!r},\n' for k, v in network.items())
        return (
            f'backbone = dict(\n{options}'
            '    init_cfg=dict(\n'
            "        type='Pretrained',\n"
            f"        checkpoint='{path}',\n"
            "        prefix='backbone.'))"
        )

    def _network(self, student: Student) -> dict[str, Any]:
        options = dict(student.backbone)
        if self.name != 'mmpretrain' and student.family != 'ResNet':
            # Their own ones differ from mmpretrain's, or are missing.
            options['type'] = f'mmpretrain.{student.family}'
        return options


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}
