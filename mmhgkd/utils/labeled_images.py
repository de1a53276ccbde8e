"""Checks of images against their masks or annotations, for a sample."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mmengine.registry import TRANSFORMS

from .errors import ConfigError
from .find_type import type_name
from .image_headers import ImageHeader, is_plain
from .image_sample import ImageSample
from .left_out import printable, say_once

_IGNORING = "color_type='color_ignore_orientation'"
_UPRIGHT = (
    'store such images upright (`ImageOps.exif_transpose` of Pillow), or '
    'label them again'
)


class LabeledImage(NamedTuple):
    """An image, and its size as its labels have it.

    Args:
        path (str): File of the image.
        width (int): Width that the labels belong to, in pixels.
        height (int): Height that the labels belong to.
        source (str): What says so, such as 'its mask a.png'.
    """

    path: str
    width: int
    height: int
    source: str


def check_labeled_images(
    images: Sequence[LabeledImage],
    pipeline: Sequence[dict[str, Any]],
    scope: str,
    option: str,
) -> None:
    """Check that images have the size of their labels when they are loaded.

    A loader can turn an image by its EXIF orientation, and no labels.

    Args:
        images (Sequence[LabeledImage]): Those to look at.
        pipeline (Sequence[dict]): Config of the pipeline of the data set.
        scope (str): Scope of its transforms.
        option (str): Path of the data set in the config.

    Raises:
        ConfigError: If an image is missing, has another size than its
            labels, or a depth or channels that its loader cannot take.
    """
    steps = [
        step
        for step in pipeline
        if type_name(step.get('type')).startswith('LoadImage')
    ]
    if not steps:
        return
    with TRANSFORMS.switch_scope_and_registry(scope) as registry:
        load: Callable = registry.build(dict(steps[0]))
    seen: list[tuple[LabeledImage, ImageHeader, tuple[int, int]]] = []
    kind = type_name(steps[0].get('type'))
    sample = ImageSample(option, stock=kind != 'LoadImage')
    for image in images:
        if '://' in image.path:
            continue
        header = sample.look(image.path)
        if header is None:
            continue
        size = header.width, header.height
        if header.orientation != 1 or not _is_plain(image.path):
            try:
                size = load(dict(img_path=image.path))['img'].shape[1::-1]
            except ConfigError:
                raise
            except Exception:  # a damaged file can cause any
                sample.unreadable.append(image.path)
                continue
        seen.append((image, header, size))
    _check_sizes(seen, option, kind)
    sample.conclude(len(images))


def _check_sizes(
    seen: Sequence[tuple[LabeledImage, ImageHeader, tuple[int, int]]],
    option: str,
    loader: str,
) -> None:
    wrong, unclear = [], []
    clear = fits_stored = fits_turned = 0
    for image, header, size in seen:
        labels = image.width, image.height
        stored = header.width, header.height
        fits_stored += labels == stored
        fits_turned += labels == header.turned_size
        if size != labels:
            wrong.append((image, header, size))
        elif header.orientation != 1 and stored == header.turned_size:
            unclear.append(image.path)
        elif header.orientation != 1:
            clear += 1
    if wrong:
        image, header, size = wrong[0]
        advice = 'they must be equal'
        if header.orientation != 1 and fits_stored == len(seen):
            advice = (
                'it is turned by its EXIF orientation and the labels are not; '
                f'set `{_IGNORING}` of {loader} in the pipelines'
            )
        elif header.orientation != 1 and fits_turned == len(seen):
            advice = (
                'the labels belong to the image turned by its EXIF '
                "orientation; set `type='mmhgkd.LoadImage'` with "
                "`color_type='color'` in the pipelines"
            )
        elif header.orientation != 1:
            advice = f'its EXIF orientation turns it; {_UPRIGHT}'
        raise ConfigError(
            f'the image {printable(image.path)} of `{option}` has '
            f'{size[0]} x {size[1]} pixels as loaded, but {image.source} '
            f'{image.width} x {image.height} ({len(wrong)} of {len(seen)} '
            f'images that were looked at are so): {advice}'
        )
    if unclear and not clear:
        say_once(
            f'{len(unclear)} of {len(seen)} images of `{option}` that were '
            'looked at have an EXIF orientation that keeps their size: '
            'whether their labels were made on turned images is not known; '
            f'look at some, and set `{_IGNORING}` of {loader} if they were '
            'not',
            unclear,
            logging.WARNING,
        )


def _is_plain(path: str) -> bool:
    with open(path, 'rb') as file:
        return is_plain(file.read(4096))
