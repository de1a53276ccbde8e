import re
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from mmhgkd.utils import ConfigError

from .inverted_residual import torchvision_names
from .layout import FlatLayout
from .student import Student

_CONVNEXT = ('tiny', 'small', 'base', 'large')
_CONVNEXT_BLOCK = {
    'depthwise_conv': 'block.0',
    'norm': 'block.2',
    'pointwise_conv1': 'block.3',
    'pointwise_conv2': 'block.5',
    'gamma': 'layer_scale',
}


class TorchvisionLayout(FlatLayout):
    """Networks of ``torchvision.models``."""

    name = 'torchvision'

    def describe(self, student: Student) -> str:
        """See :class:`Layout`."""
        return f'torchvision {self._network(student)}'

    def build(self, student: Student) -> nn.Module:
        """See :class:`FlatLayout`."""
        return torchvision.models.get_model(
            self._network(student), weights=None, **_classes(student)
        )

    def names(self, student: Student, model: nn.Module) -> dict[str, str]:
        """See :class:`FlatLayout`."""
        keys = list(student.weights)
        if student.family == 'ResNet':
            return {key: key for key in keys}
        if student.family == 'ConvNeXt':
            return {key: _convnext_name(key) for key in keys}
        return torchvision_names(
            keys, 'conv' if student.family == 'MobileNetV2' else 'block'
        )

    def head_names(self, student: Student) -> dict[str, str]:
        """See :class:`FlatLayout`."""
        layers = {
            'ResNet': {'fc': 'fc'},
            'ConvNeXt': {'fc': 'classifier.2'},
            'MobileNetV2': {'fc': 'classifier.1'},
            'MobileNetV3': {
                'layers.0.fc': 'classifier.0',
                'layers.1.fc': 'classifier.3',
            },
        }[student.family]
        return {
            f'{old}.{tensor}': f'{new}.{tensor}'
            for old, new in layers.items()
            for tensor in ('weight', 'bias')
        }

    def head_keys(self, student: Student) -> set[str]:
        """See :class:`FlatLayout`."""
        return set(self.head_names(student).values())

    def outputs(
        self, student: Student, model: nn.Module, images: Tensor
    ) -> dict[str, Tensor]:
        """See :class:`Layout`."""
        place, head = {
            'ResNet': (model, 'fc'),
            'ConvNeXt': (getattr(model, 'classifier', None), '2'),
        }.get(student.family, (model, 'classifier'))
        result = {}
        with torch.no_grad():
            if student.head is not None:
                result['logits'] = model(images)
            layer = getattr(place, head)
            setattr(place, head, nn.Identity())
            result['embedding'] = model(images)
            setattr(place, head, layer)
        return result

    def usage(self, student: Student, path: Path) -> str:
        """See :class:`Layout`."""
        arguments = ''.join(f', {k}={v}' for k, v in _classes(student).items())
        strict = '' if student.head else ', strict=False'
        read = (
            'safetensors.torch.load_file'
            if path.suffix == '.safetensors'
            else 'torch.load'
        )
        return (
            f"model = torchvision.models.get_model('"
            f"{self._network(student)}'{arguments})\n"
            f"model.load_state_dict({read}('{path}'){strict})"
        )

    def _network(self, student: Student) -> str:
        options = student.backbone
        if student.family == 'ResNet':
            return f'resnet{options["depth"]}'
        if student.family == 'MobileNetV2' and (
            options.get('widen_factor', 1.0) == 1.0
        ):
            return 'mobilenet_v2'
        arch = options.get('arch')
        if student.family == 'MobileNetV3':
            arch = arch or 'small'
            if arch in ('small', 'large'):
                return f'mobilenet_v3_{arch}'
        why = ''
        if student.family == 'ConvNeXt':
            arch = arch or 'tiny'
            if options.get('use_grn'):
                why = ' (ConvNeXt V2)'
            elif arch in _CONVNEXT:
                return f'convnext_{arch}'
        elif student.family == 'EfficientNet':
            why = (
                ' (its efficientnet_* pads all sides alike, the student '
                'pads as TensorFlow)'
            )
        raise ConfigError(
            f'{student.source}: torchvision has no network that equals this '
            f'{student.family}{why}; the layouts timm and mmpretrain, and '
            'ONNX, may have'
        )


def _classes(student: Student) -> dict[str, int]:
    return {'num_classes': student.head['num_classes']} if student.head else {}


def _convnext_name(key: str) -> str:
    if key.startswith('norm3.'):
        return key.replace('norm3', 'classifier.0')
    found = re.fullmatch(r'downsample_layers\.(\d)\.(.+)', key)
    if found:
        return f'features.{2 * int(found[1])}.{found[2]}'
    _, stage, block, layer, *rest = key.split('.')
    name = '.'.join([_CONVNEXT_BLOCK.get(layer, layer), *rest])
    return f'features.{2 * int(stage) + 1}.{block}.{name}'
