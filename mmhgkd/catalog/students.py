from typing import Any

from mmhgkd.utils import ConfigError

from .library_students import (
    EQUALS,
    LIBRARIES,
    is_transformer,
    library_backbone,
)
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


def student_names() -> list[str]:
    """All that :func:`student_name` is known to take, ours first."""
    return [
        *STUDENTS,
        *(
            f'{library}/{network}'
            for library, networks in LIBRARIES.items()
            for network in networks
            if _own(library, network) is None
        ),
    ]


def student_backbone(name: str) -> dict[str, Any]:
    """Config of the backbone of a student, by its :func:`student_name`."""
    if name in STUDENTS:
        return dict(STUDENTS[name])
    return library_backbone(name)


def student_name(name: str) -> str:
    """Check the name of a student, in any common spelling.

    Args:
        name (str): A key of ``STUDENTS``, or how others write it, such as
            'ResNet-50' or 'mobilenetv2', or a network of a library, such as
            'timm/regnety_002'. The library may be left out.

    Returns:
        str: A key of ``STUDENTS``, else the library, a slash and the network.

    Raises:
        ConfigError: If there is no such student. Networks of timm and
            torchvision that are not listed are tried by
            :func:`student_backbone`, and are no error here.
    """
    if not isinstance(name, str):
        raise ConfigError(
            f'a student is the name of a network, such as resnet18, got '
            f'{name!r}'
        )
    for known in STUDENTS:
        if _plain(known) == _plain(name):
            return known
    library, slash, network = name.partition('/')
    if is_transformer(name) or is_transformer(network):
        raise ConfigError(
            f'{name} is a transformer, and a student is a CNN, or a hybrid of '
            'CNN and attention, such as resnet18, convnext_tiny or '
            'timm/efficientvit_b0; a ViT is a teacher, see `mmhgkd teachers`'
        )
    if slash:
        if library.lower() not in LIBRARIES:
            raise ConfigError(
                f'there is no library {library!r} of students; there are '
                f'{", ".join(LIBRARIES)}, such as timm/regnety_002'
            )
        return _of_library(library.lower(), network)
    for library, networks in LIBRARIES.items():
        for network in networks:
            if _plain(network) == _plain(name):
                return _of_library(library, network)
    raise ConfigError(
        f'there is no student {name!r}'
        f'{suggest(name.lower(), student_names())}; '
        f'the students are {", ".join(STUDENTS)}, and networks of '
        f'{", ".join(LIBRARIES)} (`mmhgkd students WORD` finds them)'
    )


def _of_library(library: str, network: str) -> str:
    own = _own(library, network)
    if own is not None:
        return own
    known = LIBRARIES[library]
    for other in known:
        if _plain(other) == _plain(network):
            return f'{library}/{other}'
    # The other libraries are asked for their networks when one is built.
    if library == 'mmpretrain':
        raise ConfigError(
            f'no student mmpretrain/{network} is known to convert'
            f'{suggest(network.lower(), known)}; there are '
            f'{", ".join(known)}'
        )
    return f'{library}/{network}'


def _own(library: str, network: str) -> str | None:
    """The student of this project that equals a network of a library."""
    if f'{library}/{network}' in EQUALS:
        return EQUALS[f'{library}/{network}']
    if network.startswith('efficientnet'):
        # Theirs pad all sides alike, ours as TensorFlow.
        return (
            network
            if library == 'mmpretrain' and network in STUDENTS
            else None
        )
    for known in STUDENTS:
        if _plain(known) == _plain(network):
            return known
    return None


def _plain(name: str) -> str:
    return name.lower().replace('-', '').replace('_', '')
