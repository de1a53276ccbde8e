import re
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mmhgkd.utils import ConfigError

from .inverted_residual import timm_names
from .layout import FlatLayout
from .student import Student

_CONVNEXT = (
    (r'^downsample_layers\.0\.', 'stem.'),
    (r'^downsample_layers\.(\d)\.', r'stages.\1.downsample.'),
    (r'^stages\.(\d)\.(\d+)\.', r'stages.\1.blocks.\2.'),
    (r'\.depthwise_conv\.', '.conv_dw.'),
    (r'\.pointwise_conv([12])\.', r'.mlp.fc\1.'),
    (r'\.grn\.gamma$', '.mlp.grn.weight'),
    (r'\.grn\.beta$', '.mlp.grn.bias'),
    (r'^norm3\.', 'head.norm.'),
)
_WIDTHS = {0.35: '035', 0.5: '050', 0.75: '075', 1.0: '100', 1.4: '140'}
_MOBILENET_V3 = {
    'small': 'small_100',
    'small_075': 'small_075',
    'small_050': 'small_050',
    'large': 'large_100',
}


class TimmLayout(FlatLayout):
    """Networks of timm."""

    name = 'timm'

    def describe(self, student: Student) -> str:
        """See :class:`Layout`."""
        name = self._network(student)
        if name not in timm.list_models():
            raise ConfigError(
                f'{student.source}: timm {timm.__version__} '
                f'has no {name}, which would equal it; the '
                'layout mmpretrain and ONNX hold every student'
            )
        return f'timm {name}'

    def build(self, student: Student) -> nn.Module:
        """See :class:`FlatLayout`."""
        self.describe(student)
        return timm.create_model(self._network(student), **_arguments(student))

    def names(self, student: Student, model: nn.Module) -> dict[str, str]:
        """See :class:`FlatLayout`."""
        keys = list(student.weights)
        if student.family == 'ResNet':
            return {key: key for key in keys}
        if student.family == 'ConvNeXt':
            return {key: _convnext_name(key) for key in keys}
        blocks: Any = model.blocks
        return timm_names(keys, [len(stage) for stage in blocks])

    def head_names(self, student: Student) -> dict[str, str]:
        """See :class:`FlatLayout`."""
        layers = {
            'ResNet': {'fc': 'fc'},
            'ConvNeXt': {'fc': 'head.fc'},
            'MobileNetV3': {
                'layers.0.fc': 'conv_head',
                'layers.1.fc': 'classifier',
            },
        }.get(student.family, {'fc': 'classifier'})
        return {
            f'{old}.{tensor}': f'{new}.{tensor}'
            for old, new in layers.items()
            for tensor in ('weight', 'bias')
        }

    def head_keys(self, student: Student) -> set[str]:
        """See :class:`FlatLayout`."""
        return set(self.head_names(student).values())

    def outputs(
        self, student: Student, model: Any, images: Tensor
    ) -> dict[str, Tensor]:
        """See :class:`Layout`."""
        with torch.no_grad():
            features = model.forward_features(images)
            if student.family == 'ConvNeXt':
                embedding = model.forward_head(features, pre_logits=True)
            else:
                embedding = features.mean((2, 3))
            result = {'embedding': embedding}
            if student.head is not None:
                result['logits'] = model.forward_head(features)
        return result

    def usage(self, student: Student, path: Path) -> str:
        """See :class:`Layout`."""
        arguments = ''.join(
            f', {k}={v}' for k, v in _arguments(student).items()
        )
        create = f"model = timm.create_model('{self._network(student)}'"
        if student.family == 'MobileNetV3' and student.head is None:
            # timm keeps a layer behind the average in a headless network.
            return (
                f'{create}{arguments})\n'
                f"timm.models.load_checkpoint(model, '{path}', "
                'strict=False)'
            )
        return f"{create}{arguments}, checkpoint_path='{path}')"

    def _network(self, student: Student) -> str:
        options = student.backbone
        arch = options.get('arch')
        if student.family == 'ResNet':
            return f'resnet{options["depth"]}'
        if student.family == 'ConvNeXt':
            arch = arch or 'tiny'
            if isinstance(arch, str):
                return f'convnext{"v2" if options.get("use_grn") else ""}_' + (
                    arch
                )
        elif student.family == 'EfficientNet':
            arch = arch or 'b0'
            if re.fullmatch(r'b\d', arch):
                return f'tf_efficientnet_{arch}'
        elif student.family == 'MobileNetV2':
            width = options.get('widen_factor', 1.0)
            if width in _WIDTHS:
                return f'mobilenetv2_{_WIDTHS[width]}'
        elif (arch or 'small') in _MOBILENET_V3:
            return f'mobilenetv3_{_MOBILENET_V3[arch or "small"]}'
        raise ConfigError(
            f'{student.source}: timm has no network that equals this '
            f'{student.family} ({arch or options}); the layout mmpretrain '
            'and ONNX hold every student'
        )


def _arguments(student: Student) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        'num_classes': student.head['num_classes'] if student.head else 0
    }
    if student.family == 'MobileNetV3':
        # timm's own value is 1e-5, and that of mmpretrain and torchvision
        # is this one.
        arguments['bn_eps'] = 1e-3
    return arguments


def _convnext_name(key: str) -> str:
    for pattern, replacement in _CONVNEXT:
        key = re.sub(pattern, replacement, key)
    return key
