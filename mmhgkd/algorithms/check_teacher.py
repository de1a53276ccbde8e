"""Whether a teacher, a decoder and the losses fit together."""

from typing import Any

from torch import nn

from mmhgkd.losses import DistillationHead
from mmhgkd.teachers import BaseTeacher
from mmhgkd.utils import ConfigError


def check_teacher(
    teacher: BaseTeacher,
    neck: nn.Module | None,
    head: DistillationHead,
    views: int,
) -> None:
    """Check that the student can learn what the teacher gives.

    Args:
        teacher (BaseTeacher): The teacher.
        neck (nn.Module, optional): The decoder.
        head (DistillationHead): The losses.
        views (int): How often the student sees an image.

    Raises:
        ConfigError: If it cannot.
    """
    if type(views) is not int or views < 1:
        raise ConfigError(
            f'`model.views` must be a positive integer, got {views!r}'
        )
    if neck is None and not head.reads_last_stage:
        raise ConfigError(
            'no loss reaches the last stage of the student: add -1 to '
            '`head.direct_loss.stages`, or a loss that reads the decoder'
        )
    widths: dict[str, Any] = dict(head.widths)
    if neck is not None:
        widths['neck.out_channels'] = neck.out_channels
    for option, width in widths.items():
        if width != teacher.embed_dims:
            raise ConfigError(
                f'the teacher has tokens of {teacher.embed_dims} '
                f'channels, `{option}` is {width}; set '
                f'`{option}={teacher.embed_dims}`'
            )
    if teacher.input == 'visible':
        _check_visible(head, views)


def check_grids(
    teacher: BaseTeacher,
    neck: nn.Module | None,
    head: DistillationHead,
    height: int,
    width: int,
) -> tuple[int, int]:
    """Check that the tokens of student and teacher lie on one grid.

    Args:
        teacher (BaseTeacher): The teacher.
        neck (nn.Module, optional): The decoder.
        head (DistillationHead): The losses.
        height (int): Of the images, in pixels.
        width (int): Likewise.

    Returns:
        tuple[int, int]: Rows and columns of that grid.

    Raises:
        ConfigError: If they do not.
    """
    grid = teacher.grid(height, width)
    parts: dict[str, Any] = {
        'neck': neck,
        'head.direct_loss': head.direct_loss,
    }
    for option, part in parts.items():
        if part is None:
            continue
        student = (height // part.out_stride, width // part.out_stride)
        if student != grid:
            raise ConfigError(
                f'for {height}x{width} px the teacher has a '
                f'{grid[0]}x{grid[1]} grid of tokens, '
                f'the student {student[0]}x{student[1]}; set '
                f"`{option}.out_stride` to the teacher's patch size, or "
                '`teacher.input_size` so that the grids agree'
            )
    return grid


def _check_visible(head: DistillationHead, views: int) -> None:
    """A teacher that sees what the student sees has no other tokens."""
    if views > 1:
        raise ConfigError(
            "a teacher with `input='visible'` sees what one mask leaves, "
            'and each view has its own: set `model.views=1`, or '
            "`teacher.input='full'`"
        )
    if head.similarity_loss and head.embedding.source == 'tokens':
        raise ConfigError(
            "a teacher with `input='visible'` has no tokens at masked "
            "places; set `head.embedding.source='decoder'` or "
            "'encoder', or `teacher.input='full'`"
        )
    if head.feature_loss and head.feature_loss.region != 'visible':
        raise ConfigError(
            "a teacher with `input='visible'` has no tokens at masked "
            "places; set `head.feature_loss.region='visible'`, or "
            "`teacher.input='full'`"
        )
