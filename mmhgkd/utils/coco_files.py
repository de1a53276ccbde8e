"""Reading of annotation files in the form of MS COCO, and what is in them.

MMDetection fails with a bare KeyError where a key is missing, and leaves out
annotations and images without a word.
"""

import json
import logging
import math
import os
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Any

from .errors import ConfigError
from .left_out import count_kinds, say_once

_KEYS = {
    'categories': ('id', 'name'),
    'images': ('id', 'file_name', 'height', 'width'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
}
_MENDS = {
    'area': '; for boxes it is width times height',
    'height': '; it is the height of the image in pixels',
    'width': '; it is the width of the image in pixels',
}


def read_coco(file: str, option: str) -> dict[str, Any]:
    """Read an annotation file and check its form.

    Args:
        file (str): The file.
        option (str): Option of the config that names it.

    Returns:
        dict: Its content.

    Raises:
        ConfigError: If it cannot be read, if a key is missing, or if an id
            or a box is none.
    """
    path = os.path.expanduser(file)
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            # A pipe would wait for ever.
            raise OSError(0, 'no plain file')
        with open(path, encoding='utf-8') as stream:
            content = json.load(stream)
    except OSError as error:
        raise ConfigError(
            f'cannot read the annotation file `{file}` of `{option}` '
            f'({error.strerror}); add `--cfg-options {option}=FILE`'
        ) from error
    except ValueError as error:
        raise ConfigError(
            f'the annotation file `{file}` of `{option}` is broken or cut off '
            f'({error}); get it again'
        ) from error
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(content, dict) or key not in content:
            raise ConfigError(
                f'the annotation file `{file}` of `{option}` has no `{key}`; '
                'it must have the form of MS COCO'
            )
    where = f'the annotation file `{file}` of `{option}`'
    for section, keys in _KEYS.items():
        _check_section(content[section], section, keys, where)
    _check_names(content['categories'], where)
    _check_boxes(content['annotations'], where)
    return content


def check_masks(content: dict[str, Any], file: str, option: str) -> None:
    """All annotations have the mask that a pipeline loads.

    Args:
        content (dict): Of :func:`read_coco`.
        file (str): The annotation file.
        option (str): Path of the data set in the config.

    Raises:
        ConfigError: If they have not.
    """
    annotations = content['annotations']
    missing = [a['id'] for a in annotations if not a.get('segmentation')]
    if missing:
        raise ConfigError(
            f'{len(missing):,} of {len(annotations):,} annotations of '
            f'`{file}` have no `segmentation` (the first has the id '
            f'{missing[0]}), but `{option}` loads masks; add them, or set '
            '`with_mask=False` and train a model without masks'
        )


def say_left_out(
    content: dict[str, Any],
    file: str,
    classes: Collection[str],
    filter_cfg: dict[str, Any] | None,
) -> None:
    """Count once what MMDetection leaves out.

    Args:
        content (dict): Of :func:`read_coco`.
        file (str): The annotation file.
        classes (Collection[str]): Names of the categories in use.
        filter_cfg (dict, optional): Of the data set, None in a test.

    Raises:
        ConfigError: If no annotation is left.
    """
    images = {image['id']: image for image in content['images']}
    names = {
        category['id']: category['name'] for category in content['categories']
    }
    kinds: dict[str, list[str]] = defaultdict(list)
    used = set()
    for annotation in content['annotations']:
        kind = _why_left_out(annotation, images, names, classes)
        if kind is None:
            used.add(annotation['image_id'])
        else:
            kinds[kind].append(f'annotation {annotation["id"]}, {kind}')
    total = len(content['annotations'])
    left_out = sum(map(len, kinds.values()))
    text = f'{file}: {len(images):,} images, {total:,} annotations'
    if total and left_out == total:
        raise ConfigError(
            f'{text}, all of which are left out ({count_kinds(kinds)}); mend '
            'the file'
        )
    lost = _images_left_out(images, used, filter_cfg or {})
    if left_out:
        text += f'; {left_out:,} annotations left out ({count_kinds(kinds)})'
    if lost:
        count = sum(map(len, lost.values()))
        text += f'; {count:,} images left out ({count_kinds(lost)})'
    files = Counter(image['file_name'] for image in images.values())
    twice = [name for name, count in files.items() if count > 1]
    if twice:
        text += f'; {len(twice):,} files are listed twice'
    listed = [name for found in kinds.values() for name in found]
    listed += [name for found in lost.values() for name in found] + twice
    if listed:
        say_once(text, listed, logging.WARNING)


def _check_section(
    items: Any, section: str, keys: tuple[str, ...], where: str
) -> None:
    """All items have all keys, and ids of their own."""
    if not isinstance(items, list) or not all(
        isinstance(item, dict) for item in items
    ):
        raise ConfigError(f'`{section}` of {where} must be a list of objects')
    for key in keys:
        missing = [
            index for index, i in enumerate(items) if i.get(key) is None
        ]
        if missing:
            raise ConfigError(
                f'{len(missing):,} of {len(items):,} {section} of {where} '
                f'have no `{key}` (the first is number {missing[0]}); add it'
                f'{_MENDS.get(key, "")}'
            )
        if key != 'id' and not key.endswith('_id'):
            continue
        wrong = [i[key] for i in items if type(i[key]) is not int]
        if wrong:
            raise ConfigError(
                f'`{key}` of {len(wrong):,} of {len(items):,} {section} of '
                f'{where} must be a whole number, got {wrong[0]!r}'
            )
    counts = Counter(item['id'] for item in items)
    twice = [number for number, count in counts.items() if count > 1]
    if twice:
        raise ConfigError(
            f'{len(twice):,} ids of the {section} of {where} occur more than '
            f'once, such as {twice[0]}, and hide one another; number them '
            'anew'
        )


def _check_names(categories: list[dict[str, Any]], where: str) -> None:
    counts = Counter(str(category['name']) for category in categories)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ConfigError(
            f'{len(twice)} names of categories of {where} occur more than '
            f'once, such as {twice[0]!r}; give each a name of its own'
        )


def _check_boxes(annotations: list[dict[str, Any]], where: str) -> None:
    wrong = [
        annotation
        for annotation in annotations
        if not isinstance(annotation['bbox'], list)
        or len(annotation['bbox']) != 4
        or not all(map(_is_number, annotation['bbox']))
        or not _is_number(annotation['area'])
    ]
    if wrong:
        raise ConfigError(
            f'{len(wrong):,} annotations of {where} have no `bbox` of four '
            f'numbers or no number as `area`, such as that of the id '
            f'{wrong[0]["id"]}: {wrong[0]["bbox"]!r}, {wrong[0]["area"]!r}'
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _why_left_out(
    annotation: dict[str, Any],
    images: dict[int, dict[str, Any]],
    names: dict[int, str],
    classes: Collection[str],
) -> str | None:
    """Why `CocoDataset` leaves an annotation out; None if it does not."""
    image = images.get(annotation['image_id'])
    if image is None:
        return 'of unknown images'
    if annotation['category_id'] not in names:
        return 'of unknown categories'
    if names[annotation['category_id']] not in classes:
        return 'of other categories'
    if annotation.get('ignore', False):
        return 'to be ignored'
    left, top, width, height = annotation['bbox']
    if annotation['area'] <= 0 or width < 1 or height < 1:
        return 'without an area'
    if min(left + width, image['width']) <= max(left, 0) or min(
        top + height, image['height']
    ) <= max(top, 0):
        return 'outside of their image'
    return None


def _images_left_out(
    images: dict[int, dict[str, Any]],
    used: set[int],
    filter_cfg: dict[str, Any],
) -> dict[str, list[str]]:
    lost: dict[str, list[str]] = defaultdict(list)
    for number, image in images.items():
        if filter_cfg.get('filter_empty_gt') and number not in used:
            lost['without annotations'].append(image['file_name'])
        elif min(image['width'], image['height']) < filter_cfg.get(
            'min_size', 0
        ):
            lost['too small'].append(image['file_name'])
    return lost
