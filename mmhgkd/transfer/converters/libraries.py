"""The networks of torchvision and timm."""

from pathlib import Path
from typing import Any, ClassVar

import timm
import torchvision
from torch import nn

from .flat_layout import FlatLayout
from .student import Student

_STAGES = range(4)


class TorchvisionLayout(FlatLayout):
    """Networks of ``torchvision.models``."""

    name = 'torchvision'
    networks: ClassVar = {
        'ResNet': 'resnet{depth}',
        'ConvNeXt': 'convnext{version}_{arch}',
        'MobileNetV2': 'mobilenet_v2{other_width}',
        'MobileNetV3': 'mobilenet_v3_{arch}',
        'EfficientNet': 'tf_efficientnet_{arch}',
    }
    names: ClassVar = {
        'ResNet': (),
        'ConvNeXt': (
            (r'^norm3\.', 'classifier.0.'),
            *(
                (rf'^downsample_layers\.{i}', f'features.{2 * i}')
                for i in _STAGES
            ),
            *((rf'^stages\.{i}', f'features.{2 * i + 1}') for i in _STAGES),
            (r'\.depthwise_conv\.', '.block.0.'),
            (r'\.norm\.', '.block.2.'),
            (r'\.pointwise_conv1\.', '.block.3.'),
            (r'\.pointwise_conv2\.', '.block.5.'),
            (r'\.gamma$', '.layer_scale'),
        ),
    }
    heads: ClassVar = {
        'ResNet': {'fc': 'fc'},
        'ConvNeXt': {'fc': 'classifier.2'},
        'MobileNetV3': {
            'layers.0.fc': 'classifier.0',
            'layers.1.fc': 'classifier.3',
        },
        '': {'fc': 'classifier.1'},
    }
    notes: ClassVar = {
        'ConvNeXt': 'it has tiny to large, and no ConvNeXt V2',
        'EfficientNet': 'its efficientnet_* pads all sides alike, the '
        'student pads as TensorFlow',
    }

    def has(self, network: str) -> bool:
        """See :class:`FlatLayout`."""
        return network in torchvision.models.list_models(torchvision.models)

    def build(self, student: Student) -> nn.Module:
        """See :class:`FlatLayout`."""
        model = torchvision.models.get_model(
            self.network(student), num_classes=student.num_classes or 1000
        )
        if student.channels != 3:
            name, stem = self._stem(student, model)
            model.set_submodule(name, stem)
        return model

    def usage(self, student: Student, path: Path) -> str:
        """See :class:`Layout`."""
        classes = strict = note = ''
        if student.num_classes:
            classes = f', num_classes={student.num_classes}'
        else:
            strict = ', strict=False'
            layers = self.heads.get(student.family, self.heads[''])
            names = ' and '.join(f'`{name}`' for name in layers.values())
            note = (
                f'\n# {names} of it is random: this student has no head, so '
                'train one'
            )
        read = 'torch.load'
        if path.suffix == '.safetensors':
            read = 'safetensors.torch.load_file'
        stem = ''
        if student.channels != 3:
            name, layer = self._stem(student, self.build(student))
            stem = f"\nmodel.set_submodule('{name}', torch.nn.{layer})"
        return (
            f"model = torchvision.models.get_model('{self.network(student)}'"
            f"{classes}){stem}\nmodel.load_state_dict({read}('{path}'){strict})"
            f'{note}'
        )

    def _stem(
        self, student: Student, model: nn.Module
    ) -> tuple[str, nn.Conv2d]:
        """Name of the first layer, and one for the student's channels."""
        name, layer = next(
            (name, layer)
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d)
        )
        options: dict[str, Any] = {
            key: getattr(layer, key)
            for key in ('out_channels', 'kernel_size', 'stride', 'padding')
        }
        has_bias = layer.bias is not None
        return name, nn.Conv2d(student.channels, **options, bias=has_bias)


class TimmLayout(FlatLayout):
    """Networks of timm."""

    name = 'timm'
    networks: ClassVar = {
        'ResNet': 'resnet{depth}',
        'ConvNeXt': 'convnext{version}_{arch}',
        'MobileNetV2': 'mobilenetv2_{width}',
        'MobileNetV3': 'mobilenetv3_{arch_of_width}',
        'EfficientNet': 'tf_efficientnet_{arch}',
    }
    names: ClassVar = {
        'ResNet': (),
        'ConvNeXt': (
            (r'^downsample_layers\.0\.', 'stem.'),
            (r'^downsample_layers\.(\d)\.', r'stages.\1.downsample.'),
            (r'^stages\.(\d)\.(\d+)\.', r'stages.\1.blocks.\2.'),
            (r'\.depthwise_conv\.', '.conv_dw.'),
            (r'\.pointwise_conv([12])\.', r'.mlp.fc\1.'),
            (r'\.grn\.gamma$', '.mlp.grn.weight'),
            (r'\.grn\.beta$', '.mlp.grn.bias'),
            (r'^norm3\.', 'head.norm.'),
        ),
    }
    heads: ClassVar = {
        'ResNet': {'fc': 'fc'},
        'ConvNeXt': {'fc': 'head.fc'},
        'MobileNetV3': {
            'layers.0.fc': 'conv_head',
            'layers.1.fc': 'classifier',
        },
        '': {'fc': 'classifier'},
    }

    def has(self, network: str) -> bool:
        """See :class:`FlatLayout`."""
        return timm.is_model(network)

    def build(self, student: Student) -> nn.Module:
        """See :class:`FlatLayout`."""
        name = self.network(student)
        return timm.create_model(name, **self._arguments(student))

    def usage(self, student: Student, path: Path) -> str:
        """See :class:`Layout`."""
        create = f"model = timm.create_model('{self.network(student)}'"
        for option, value in self._arguments(student).items():
            create += f', {option}={value}'
        if student.family == 'MobileNetV3' and not student.num_classes:
            # timm keeps a layer behind the average in a headless network.
            return (
                f"{create})\ntimm.models.load_checkpoint(model, '{path}', "
                'strict=False)'
            )
        return f"{create}, checkpoint_path='{path}')"

    def _arguments(self, student: Student) -> dict[str, Any]:
        arguments: dict[str, Any] = {'num_classes': student.num_classes}
        if student.channels != 3:
            arguments['in_chans'] = student.channels
        if student.family == 'MobileNetV3':
            # timm's own value is 1e-5, and that of mmpretrain and
            # torchvision is this one.
            arguments['bn_eps'] = 1e-3
        return arguments
