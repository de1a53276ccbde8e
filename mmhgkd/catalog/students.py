from typing import Any

from mmhgkd.utils import ConfigError

from .names import suggest

STUDENTS: dict[str, dict[str, Any]] = {
    **{
        f'resnet{depth}': dict(type='mmhgkd.SparseResNet', depth=depth)
        for depth in (18, 34, 50, 101, 152)
    },
    **{
        f'convnext_{arch}': dict(type='mmhgkd.SparseConvNeXt', arch=arch)
        for arch in ('atto', 'femto', 'pico', 'nano', 'tiny', 'small', 'base')
    },
    **{
        f'convnextv2_{arch}': dict(
            type='mmhgkd.SparseConvNeXt',
            arch=arch,
            use_grn=True,
            layer_scale_init_value=0.0,
        )
        for arch in ('atto', 'femto', 'pico', 'nano', 'tiny', 'base')
    },
    'mobilenet_v2': dict(type='mmhgkd.SparseMobileNetV2'),
    'mobilenet_v3_small': dict(type='mmhgkd.SparseMobileNetV3', arch='small'),
    'mobilenet_v3_large': dict(type='mmhgkd.SparseMobileNetV3', arch='large'),
    'efficientnet_b0': dict(type='mmhgkd.SparseEfficientNet', arch='b0'),
}
"""Config of the backbone of each student."""


def student_name(name: str) -> str:
    """Check the name of a student, in any common spelling.

    Args:
        name (str): A key of ``STUDENTS``, or how others write it, such as
            'ResNet-50' or 'mobilenetv2'.

    Returns:
        str: The key.

    Raises:
        ConfigError: If there is no such student.
    """
    for known in STUDENTS:
        if _plain(known) == _plain(name):
            return known
    raise ConfigError(
        f'there is no student {name!r}'
        f'{suggest(name.lower(), STUDENTS)}; '
        f'the students are {", ".join(STUDENTS)}'
    )


def _plain(name: str) -> str:
    return name.lower().replace('-', '').replace('_', '')
