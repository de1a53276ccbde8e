"""Checks of the labels of a classification config.

A label that the head has no output for ends a training with an error of the
loss that names neither the file nor the label.
"""

import copy
import inspect
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from .config_options import find_key
from .errors import ConfigError
from .find_type import find_type
from .left_out import say_once


def check_classification(cfg: Config, sections: Sequence[str]) -> None:
    """Check that the head has an output for each label of the data sets.

    Only single labels of data sets in MMPretrain's form are looked at, below
    the top-level keys ``sections``. What is wrong is a ConfigError.
    """
    if cfg.get('default_scope') != 'mmpretrain':
        return
    heads = [
        (option, head['num_classes'])
        for option, head in find_key(
            (cfg.get('model') or {}).get('head'), 'num_classes', 'model.head'
        )
    ]
    for section in sections if heads else ():
        for path, part in _labeled_datasets(cfg, section):
            for option, size in heads:
                _check_dataset(part, path, option, size)


def _labeled_datasets(
    cfg: Config, section: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    for option, part in find_key(cfg.get(section), 'type', section):
        cls = find_type(DATASETS, part.get('type'), cfg.get('default_scope'))
        if not (inspect.isclass(cls) and issubclass(cls, BaseDataset)):
            continue
        default = inspect.signature(cls).parameters.get('with_label')
        with_label = default.default if default is not None else True
        if part.get('with_label', with_label):
            yield option.removesuffix('.type'), part


def _check_dataset(
    config: dict[str, Any], path: str, option: str, size: int
) -> None:
    with DATASETS.switch_scope_and_registry('mmpretrain') as registry:
        dataset = registry.build(
            dict(copy.deepcopy(config), pipeline=[], lazy_init=True)
        )
    if getattr(dataset, 'ann_file', ''):
        if not hasattr(dataset, 'with_label'):
            return
        _check_list(dataset, path, option, size)
        return
    classes = dataset.metainfo.get('classes')
    if hasattr(dataset, 'class_folders'):
        classes = dataset.class_folders()
    elif classes is None and hasattr(dataset, 'img_prefix'):
        # Its import takes seconds.
        from mmpretrain.datasets.custom import find_folders

        classes = find_folders(dataset.img_prefix)[0]
    if classes is None:
        return
    count = len(classes)
    mend = f'set `{option}={count}`'
    if count > size:
        raise ConfigError(
            f'`{path}` has {count} classes, but `{option}` is {size}: {mend}'
        )
    if count < size:
        say_once(
            f'`{path}` has {count} classes, {size - count} of the outputs of '
            f'`{option}={size}` are never right; {mend}',
            level=logging.WARNING,
        )


def _check_list(dataset: Any, path: str, option: str, size: int) -> None:
    """Check the labels of a list of files."""
    try:
        samples = dataset.load_data_list()
    except (OSError, ValueError, AssertionError) as error:
        raise ConfigError(
            f'cannot read the labels in `{dataset.ann_file}` of `{path}` '
            f'({error}); each line is a file and a whole number'
        ) from error
    wrong = [
        sample
        for sample in samples
        if isinstance(sample.get('gt_label'), int)
        and not 0 <= sample['gt_label'] < size
    ]
    if wrong:
        raise ConfigError(
            f'{len(wrong)} of {len(samples)} labels in `{dataset.ann_file}` '
            f'of `{path}` do not lie in 0 to {size - 1}, such as '
            f'{wrong[0]["gt_label"]} of {wrong[0]["img_path"]}; labels start '
            f'at 0, and `{option}` is {size}'
        )
