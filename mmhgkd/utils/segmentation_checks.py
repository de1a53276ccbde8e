"""Checks of the masks of a segmentation config.

A label that the model has no class for ends a training on a GPU with an
assertion of a CUDA kernel that names neither the file nor the label.
"""

import copy
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image

from .config_options import find_key
from .errors import ConfigError
from .find_type import type_name
from .image_headers import read_header
from .image_sample import MAX_IMAGES
from .labeled_images import LabeledImage, check_labeled_images
from .left_out import count_kinds, say_once


def check_segmentation(cfg: Config, sections: Sequence[str]) -> None:
    """Check the labels in the masks of the data sets of mmseg.

    Masks that are missing, unreadable, of another size than their image, of
    more than 8 bits, or have a label without a class are a ConfigError, and
    so are masks of which no class is left. The data sets lie below the
    top-level keys ``sections``.
    """
    if cfg.get('default_scope') != 'mmseg':
        return
    heads = [
        head['num_classes']
        for key in ('decode_head', 'auxiliary_head')
        for _, head in find_key(
            (cfg.get('model') or {}).get(key), 'num_classes', key
        )
    ]
    if not heads:
        return
    done = []
    for section in sections:
        for path, part in find_key(cfg.get(section), 'data_prefix', section):
            if part in done or 'seg_map_path' not in part['data_prefix']:
                continue
            done.append(part)
            _check_dataset(part, path.removesuffix('.data_prefix'), min(heads))


def _check_mask(
    read: Callable[[dict], dict | None],
    sample: dict,
    num_classes: int,
    ignore_index: int,
    path: str,
) -> np.ndarray:
    """Check the labels of the mask that a transform reads of a sample."""
    file = sample['seg_map_path']
    try:
        header = read_header(file)
        result = read(copy.deepcopy(sample))
    except Exception as error:
        raise ConfigError(
            f'cannot read the mask {file} of `{path}` ({error}); restore the '
            'file, or change `data_prefix.seg_map_path` or `seg_map_suffix`'
        ) from error
    labels = result['gt_seg_map'] if result else np.empty((0, 0))
    if labels.ndim != 2:
        raise ConfigError(
            f'the mask {file} of `{path}` has the shape {labels.shape}; a '
            'mask has one channel, whose values are the labels'
        )
    if header.bits > 8:
        _check_deep_mask(file, path)
    found = np.unique(labels)
    wrong = found[(found >= num_classes) & (found != ignore_index)].tolist()
    if wrong:
        reduced = sample.get('reduce_zero_label')
        raise ConfigError(
            f'the mask {file} of `{path}` has '
            f'{"the labels" if len(wrong) > 1 else "the label"} '
            f'{", ".join(str(label) for label in wrong[:5])}'
            f'{", ..." if len(wrong) > 5 else ""} as read with '
            f'`reduce_zero_label={reduced}`, but the model has the classes 0 '
            f'to {num_classes - 1}, and {ignore_index} is ignored; mend the '
            'mask, or set `reduce_zero_label` and the `num_classes` of the '
            'heads to fit'
        )
    return labels


def _check_deep_mask(file: str, path: str) -> None:
    """The values fit into the 8 bits that MMSegmentation makes of them."""
    with Image.open(file) as image:
        values = np.asarray(image)
    wrong = values[values != values.astype(np.uint8)]
    if wrong.size:
        raise ConfigError(
            f'the mask {file} of `{path}` has the value {wrong[0]:g}, which '
            f'would be read as {int(wrong[0]) % 256}: of masks 8 bits are '
            'used; save the labels as 0 to 255'
        )


def _check_classes_left(
    empty: Sequence[str],
    found: set[int],
    count: int,
    dataset: Any,
    num_classes: int,
    path: str,
) -> None:
    """Something can be learned from the masks."""
    looked = f'{count} masks of `{path}` that were looked at'
    reading = (
        f'as read with `reduce_zero_label={dataset.reduce_zero_label}`, where '
        f'{dataset.ignore_index} is ignored'
        + (', and 0 becomes 255' if dataset.reduce_zero_label else '')
    )
    mend = (
        'masks of 0 and 255 need the labels 0 and 1, or 1 and 2 with '
        '`reduce_zero_label=True`'
    )
    if not found:
        raise ConfigError(
            f'no class is left in the {looked}, {reading}: {mend}'
        )
    if len(found) == 1 and num_classes > 1:
        text = (
            f'the {looked} have one class only, {min(found)}, {reading}: '
            f'{mend}'
        )
        if path.startswith('train'):
            raise ConfigError(text)
        say_once(text, level=logging.WARNING)
    if empty:
        say_once(
            f'{len(empty)} of the {looked} have no class left, {reading}',
            empty,
            logging.WARNING,
        )
    missing = sorted(set(range(num_classes)) - found)
    if missing:
        names = dataset.metainfo.get('classes') or range(num_classes)
        say_once(
            f'{len(missing)} of {num_classes} classes have no pixel in the '
            f'{looked}',
            [str(names[index]) for index in missing],
        )


def _say_other_files(dataset: Any, count: int) -> None:
    """Count once what has another suffix, such as .jpeg beside .jpg."""
    folder = dataset.data_prefix['img_path']
    if dataset.ann_file or not os.path.isdir(folder):
        return
    others: dict[str, list[str]] = defaultdict(list)
    for place, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(dataset.img_suffix):
                kind = os.path.splitext(name)[1] or 'without extension'
                others[kind].append(os.path.join(place, name))
    if others:
        names = sorted(name for found in others.values() for name in found)
        say_once(
            f'{count:,} images in {folder} end with `img_suffix='
            f'{dataset.img_suffix}`; {len(names):,} files left out '
            f'({count_kinds(others)})',
            names,
        )


def _check_dataset(
    config: dict[str, Any], path: str, num_classes: int
) -> None:
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        dataset = registry.build(
            dict(copy.deepcopy(config), pipeline=[], lazy_init=True)
        )
    with TRANSFORMS.switch_scope_and_registry('mmseg') as registry:
        readers = [
            registry.build(copy.deepcopy(step))
            for step in config.get('pipeline') or []
            if type_name(step['type']) == 'LoadAnnotations'
        ]
    samples = dataset.load_data_list()
    if not samples:
        raise ConfigError(
            f'`{path}` finds no image that ends with `{dataset.img_suffix}` '
            f'in {dataset.data_prefix["img_path"]}; change `data_root`, '
            '`data_prefix.img_path` or `img_suffix`'
        )
    classes = dataset.metainfo.get('classes')
    if classes is not None and len(classes) != num_classes:
        raise ConfigError(
            f'`{path}` has {len(classes)} classes, the model {num_classes}; '
            'set the `num_classes` of the heads to the number of '
            '`metainfo.classes`'
        )
    _say_other_files(dataset, len(samples))
    count = min(len(samples), MAX_IMAGES)
    images, empty = [], []
    left: set[int] = set()
    for index in np.linspace(0, len(samples) - 1, count).astype(int):
        sample = samples[index]
        for read in readers:
            labels = _check_mask(
                read, sample, num_classes, dataset.ignore_index, path
            )
            file = sample['seg_map_path']
            found = set(np.unique(labels).tolist()) - {dataset.ignore_index}
            left |= found
            if not found:
                empty.append(file)
            images.append(
                LabeledImage(
                    sample['img_path'],
                    labels.shape[1],
                    labels.shape[0],
                    f'its mask {file}',
                )
            )
    if readers:
        _check_classes_left(empty, left, count, dataset, num_classes, path)
    check_labeled_images(images, config.get('pipeline') or [], 'mmseg', path)
