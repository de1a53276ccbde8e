"""Checks of what a detection config says about its annotations.

MMDetection looks its classes up in the annotation file by name. It leaves out
those that it does not find, and then trains and evaluates on fewer or none,
or with shifted labels, without a word.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from .coco_files import check_masks, read_coco, say_left_out
from .config_options import find_key
from .errors import ConfigError
from .find_type import find_type
from .image_sample import MAX_IMAGES
from .labeled_images import LabeledImage, check_labeled_images

HEADS = ('bbox_head', 'mask_head')


def check_detection(cfg: Config, sections: Sequence[str]) -> None:
    """Check annotation files, images, categories and head sizes.

    Only data sets in the form of MS COCO are looked at, below the top-level
    keys ``sections``. What is wrong is a ConfigError.
    """
    known: dict[str, dict[str, Any]] = {}
    for section in sections:
        for path, dataset, classes in _coco_datasets(cfg, section):
            root = dataset.get('data_root') or ''
            files = {
                f'{path}.ann_file': os.path.join(root, dataset['ann_file'])
            }
            evaluator = section.replace('dataloader', 'evaluator')
            for option, metric in find_key(
                cfg.get(evaluator), 'ann_file', evaluator
            ):
                files[option] = metric['ann_file'] or ''
            for option, file in files.items():
                if not file or '://' in file:
                    continue
                if file not in known:
                    known[file] = read_coco(file, option)
                categories = [c['name'] for c in known[file]['categories']]
                _check_classes(classes, categories, file, path)
            _check_images(dataset, root, path)
            _check_heads(cfg, classes, path)
            content = known.get(files[f'{path}.ann_file'])
            if content is not None:
                _check_content(cfg, content, dataset, classes, path)


def _check_content(
    cfg: Config,
    content: dict[str, Any],
    dataset: dict[str, Any],
    classes: Sequence[str],
    path: str,
) -> None:
    """Annotations and images of a data set fit together."""
    root = dataset.get('data_root') or ''
    file = os.path.join(root, dataset['ann_file'])
    pipeline = dataset.get('pipeline') or []
    if any(step.get('with_mask') for step in pipeline):
        check_masks(content, file, path)
    filters = None if dataset.get('test_mode') else dataset.get('filter_cfg')
    say_left_out(content, file, classes, filters)
    folder = os.path.expanduser(
        os.path.join(root, (dataset.get('data_prefix') or {}).get('img', ''))
    )
    images = content['images']
    count = min(len(images), MAX_IMAGES)
    chosen = np.linspace(0, len(images) - 1, count).astype(int)
    check_labeled_images(
        [
            LabeledImage(
                os.path.join(folder, images[index]['file_name']),
                images[index]['width'],
                images[index]['height'],
                f'`{file}` says',
            )
            for index in chosen
        ],
        pipeline,
        cfg.get('default_scope') or 'mmdet',
        path,
    )


def _check_classes(
    classes: Sequence[str], categories: Sequence[str], file: str, path: str
) -> None:
    """The annotation file has all classes, in their order."""
    missing = [name for name in classes if name not in categories]
    mend = (
        f'set `{path}.metainfo.classes` to the categories of the file, '
        'and `num_classes` of the heads to their number'
    )
    if missing:
        raise ConfigError(
            f'the annotation file `{file}` lacks {len(missing)} of the '
            f'{len(classes)} classes of `{path}`, {_shorten(missing)}; it has '
            f'{_shorten(categories)}; {mend}'
        )
    in_file = [name for name in categories if name in classes]
    if in_file != list(classes):
        raise ConfigError(
            f'the annotation file `{file}` has the classes of `{path}` in '
            f'another order, {_shorten(in_file)} instead of '
            f'{_shorten(classes)}, which would mix up the labels; {mend}'
        )


def _check_images(dataset: dict[str, Any], root: str, path: str) -> None:
    """The image folder exists."""
    prefix = (dataset.get('data_prefix') or {}).get('img', '')
    folder = os.path.join(root, prefix)
    if '://' not in folder and not os.path.isdir(os.path.expanduser(folder)):
        raise ConfigError(
            f'the image folder `{folder}` of `{path}` does not exist; add '
            f'`--cfg-options {path}.data_prefix.img=FOLDER`'
        )


def _check_heads(cfg: Config, classes: Sequence[str], path: str) -> None:
    """The heads have an output for each class."""
    for option, head in find_key(cfg.get('model'), 'num_classes', 'model'):
        is_head = any(part in HEADS for part in option.split('.')[-3:])
        if is_head and head['num_classes'] != len(classes):
            raise ConfigError(
                f'`{option}` is {head["num_classes"]}, but `{path}` has '
                f'{len(classes)} classes; add `--cfg-options '
                f'{option}={len(classes)}`'
            )


def _coco_datasets(
    cfg: Config, section: str
) -> Iterator[tuple[str, dict[str, Any], Sequence[str]]]:
    """Option path, config and classes of each data set in COCO's form."""
    for option, dataset in find_key(cfg.get(section), 'ann_file', section):
        cls = find_type(
            DATASETS, dataset.get('type'), cfg.get('default_scope')
        )
        load = getattr(cls, 'load_data_list', None)
        # Whether it reads its annotations as `CocoDataset` does.
        if getattr(load, '__module__', None) != 'mmdet.datasets.coco':
            continue
        metainfo = {**cls.METAINFO, **(dataset.get('metainfo') or {})}
        classes = metainfo.get('classes')
        if isinstance(classes, (list, tuple)):
            yield option.removesuffix('.ann_file'), dataset, classes


def _shorten(names: Sequence[str]) -> str:
    shown = ', '.join(map(repr, names[:5]))
    return f'{shown}, ...' if len(names) > 5 else shown or 'none'
