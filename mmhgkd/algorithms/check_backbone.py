"""Whether decoder, losses and mask fit the student, before any training."""

from inspect import signature
from typing import Any

from torch import nn

from mmhgkd.necks.densify import check_maps
from mmhgkd.utils import ConfigError


def check_backbone(backbone: Any, neck: Any, head: Any, unit: int) -> None:
    """Check the parts that read the maps of a student.

    Parts of a user's own are looked at as far as they say what they take.

    Args:
        backbone (nn.Module): The sparse student.
        neck (nn.Module, optional): The decoder.
        head (DistillationHead): The losses.
        unit (int): Side of a unit of the mask.

    Raises:
        ConfigError: If the student takes no mask, or if number, channels or
            strides of its maps are not those of another part.
    """
    name = type(backbone).__name__
    if 'mask' not in signature(backbone.forward).parameters:
        raise ConfigError(
            f'`model.backbone` {name} takes no mask; set it to a sparse '
            'student such as `mmhgkd.SparseResNet`, or put '
            "`dict(type='mmhgkd.SparseNetwork', network=...)` around it"
        )
    channels = getattr(backbone, 'feature_channels', None)
    strides = getattr(backbone, 'feature_strides', None)
    if channels is None or strides is None:
        return
    if not channels:
        raise ConfigError(
            f'`model.backbone` {name} gives no features; set '
            '`backbone.out_indices` to its stages, such as (0, 1, 2, 3)'
        )
    if head.direct_loss is not None:
        head.direct_loss.check_maps(channels, strides)
    if hasattr(neck, 'in_channels') and hasattr(neck, 'finest_stride'):
        check_maps(channels, strides, neck.in_channels, neck.finest_stride)
    for stride in strides:
        if unit % stride:
            raise ConfigError(
                f'a unit of the mask has {unit} px, which is no multiple of '
                f'the stride {stride} of the backbone; set '
                f'`mask.unit={max(strides)}`'
            )
    if head.similarity_loss is None:
        return
    source = head.embedding.source
    width = channels[-1] if source == 'encoder' else neck.out_channels
    if head.embedding.in_channels != width:
        raise ConfigError(
            f'the embedding of the source {source!r} has {width} channels, '
            f'not {head.embedding.in_channels}; set '
            f'`head.embedding.in_channels={width}`'
        )


def check_channels(preprocessor: nn.Module, backbone: nn.Module) -> None:
    """Refuse a stem for another number of channels than the images have.

    Args:
        preprocessor (nn.Module): It has a mean for each channel, or none.
        backbone (nn.Module): The student.

    Raises:
        ConfigError: If the numbers differ.
    """
    mean = getattr(preprocessor, 'mean', None)
    stem = next(
        (
            module.in_channels
            for module in backbone.modules()
            if isinstance(module, nn.Conv2d)
        ),
        None,
    )
    # A single number is meant for all channels, and some stems put
    # neighboring pixels into channels first.
    if mean is None or stem is None or stem % mean.numel() == 0:
        return
    raise ConfigError(
        f'`data_preprocessor.mean` is of {mean.numel()} channels, but the '
        f'first layer of the student takes {stem}; set '
        f'`backbone.in_channels={mean.numel()}`, or as many means'
    )
