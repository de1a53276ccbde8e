"""Checks of the masks of a segmentation config.

A label that the model has no class for ends a training on a GPU with an
assertion of a CUDA kernel that names neither the file nor the label.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS

from .config_options import find_key
from .errors import ConfigError

#: Most masks that are read of each data set, spread evenly over it.
MAX_MASKS = 1000


def check_segmentation(cfg: Config, sections: Sequence[str]) -> None:
    """Check the labels in the masks of the data sets of mmseg.

    Masks that are missing, unreadable, or have a label without a class are a
    ConfigError. The data sets lie below the top-level keys ``sections``.
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
) -> None:
    """Check the labels of the mask that a transform reads of a sample."""
    file = sample['seg_map_path']
    try:
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
            if str(step['type']).split('.')[-1] == 'LoadAnnotations'
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
    count = min(len(samples), MAX_MASKS)
    for index in np.linspace(0, len(samples) - 1, count).astype(int):
        for read in readers:
            _check_mask(
                read, samples[index], num_classes, dataset.ignore_index, path
            )
