import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine import fileio
from mmengine.dataset import ConcatDataset
from mmengine.logging import MMLogger
from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.custom import find_folders, get_samples
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmhgkd.registry import DATASETS
from mmhgkd.utils import ConfigError

_SPLITS = ('train', 'val', 'test')


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """Images in folders, with or without labels.

    Without labels all images below the folder are taken, however nested. With
    labels there is a sub-folder a class. The folder is ``data_root/split``
    where it exists, so that validation images never get into pre-training,
    and ``data_root`` itself where it holds no split at all.

    Samples carry ``split``, which a pipeline can pack as a meta key.

    Args:
        data_root (str): Folder of the data set.
        split (str): 'train', 'val', 'test', or '' for a ``data_root`` without
            splits. Defaults to ''.
        with_label (bool): Whether sub-folders are classes.
            Defaults to False.
        label_fraction (float): Share of the images of each class that is
            kept, at least one a class, in (0, 1]. A smaller share is a subset
            of a larger one. Defaults to 1.0.
        max_images (int, optional): Keep a random choice of that many images.
            Defaults to None, which means all.
        seed (int): Seed of both choices. Defaults to 0.
        extensions (Sequence[str]): Extensions of image files, in lower case.
            Defaults to those of torchvision's ``ImageFolder``.
        **kwargs: Other arguments of
            :class:`mmpretrain.datasets.CustomDataset`. The names in
            ``classes`` give the order of the labels if they are those of the
            sub-folders; else they rename the sorted sub-folders.

    Raises:
        ConfigError: If an option is out of range, if the folder, the split,
            images or the sub-folders of the classes are missing, or if the
            classes disagree with ``classes`` or with the train split.
    """

    def __init__(
        self,
        data_root: str,
        split: str = '',
        with_label: bool = False,
        label_fraction: float = 1.0,
        max_images: int | None = None,
        seed: int = 0,
        extensions: Sequence[str] = IMG_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        if split not in ('', *_SPLITS):
            raise ConfigError(
                f'`split` must be one of {", ".join(_SPLITS)} or '
                f"'', got {split!r}"
            )
        if not 0 < label_fraction <= 1:
            raise ConfigError(
                f'`label_fraction` must lie in (0, 1], got {label_fraction}'
            )
        if label_fraction < 1 and not with_label:
            raise ConfigError(
                '`label_fraction` chooses images of each class: '
                'set `with_label=True`, or use `max_images`'
            )
        if max_images is not None and max_images < 1:
            raise ConfigError(
                f'`max_images` must be at least 1, got {max_images}'
            )
        data_root = osp.expanduser(data_root)
        self.split = split
        self.label_fraction = label_fraction
        self.max_images = max_images
        self.seed = seed
        super().__init__(
            data_root=data_root,
            data_prefix=_find_split(data_root, split),
            with_label=with_label,
            extensions=extensions,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Find the images and choose the wanted share of them."""
        data_list = super().load_data_list()
        if self.label_fraction < 1:
            data_list = self._choose_fraction(data_list)
        if self.max_images is not None:
            rng = np.random.default_rng(self.seed)
            order = rng.permutation(len(data_list))[: self.max_images]
            data_list = [data_list[index] for index in sorted(order)]
        for info in data_list:
            info['split'] = self.split
        return data_list

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        return [f'Folder of images: \t{self.img_prefix}']

    def _choose_fraction(self, data_list: list[dict]) -> list[dict]:
        labels = np.array([info['gt_label'] for info in data_list])
        chosen: list[int] = []
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            rng = np.random.default_rng([self.seed, label])
            count = max(1, round(self.label_fraction * len(members)))
            chosen.extend(rng.permutation(members)[:count])
        return [data_list[index] for index in sorted(chosen)]

    def _find_samples(self) -> list:
        """Find the images, as relative paths or (path, label) pairs."""
        folder = self.img_prefix
        folder_to_idx = self._class_folders() if self.with_label else None
        samples, empty = get_samples(folder, folder_to_idx, self.is_valid_file)
        if not samples:
            raise ConfigError(
                f'no image lies in {folder}; point `data_root` at a folder '
                f'with images ({", ".join(sorted(self.extensions))})'
            )
        if empty:
            MMLogger.get_current_instance().warning(
                f'no image lies in these classes of {folder}: '
                f'{", ".join(sorted(empty))}'
            )
        return samples

    def _class_folders(self) -> dict[str, int]:
        """Label of each sub-folder, and check it against the classes."""
        folder = self.img_prefix
        found = find_folders(folder)[0]
        if not found:
            raise ConfigError(
                f'{folder} has no sub-folders, but `with_label=True` takes '
                'one a class; sort the images into such folders, point '
                '`data_root` elsewhere, or set `with_label=False`'
            )
        train = fileio.join_path(self.data_root, 'train')
        if folder != train and fileio.isdir(train):
            different = set(found) ^ set(find_folders(train)[0])
            if different:
                raise ConfigError(
                    f'the classes in {folder} and {train} differ by '
                    f'{_some(different)}; both splits of `data_root` need '
                    'the same sub-folders, be it empty ones'
                )
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(found)
        elif set(self.CLASSES) == set(found):
            found = list(self.CLASSES)
        elif len(self.CLASSES) != len(found):
            raise ConfigError(
                f'`classes` names {len(self.CLASSES)} classes, but {folder} '
                f'has {len(found)} sub-folders; they differ by '
                f'{_some(set(self.CLASSES) ^ set(found))}'
            )
        self.folder_to_idx = {name: index for index, name in enumerate(found)}
        return self.folder_to_idx


@DATASETS.register_module()
class ProbeImages(ConcatDataset):
    """Labelled images of several splits, to classify one with another.

    kNN and linear probe learn from the bank split and are measured on the
    query split; one dataloader brings both, told apart by ``split``.

    Args:
        data_root (str): Folder of the data set, see :class:`ImageFolder`.
        splits (Sequence[str]): Its splits, the bank first.
            Defaults to ('train', 'val').
        max_bank_images (int, optional): Keep a random choice of that many
            images of the first split. Defaults to None, which means all.
        **kwargs: Other arguments of :class:`ImageFolder`.
    """

    def __init__(
        self,
        data_root: str,
        splits: Sequence[str] = ('train', 'val'),
        max_bank_images: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [
                ImageFolder(
                    data_root,
                    split,
                    with_label=True,
                    max_images=None if index else max_bank_images,
                    **kwargs,
                )
                for index, split in enumerate(splits)
            ]
        )


def _find_split(data_root: str, split: str) -> str:
    """Name of the sub-folder with the images of a split, '' for none."""
    if not fileio.isdir(data_root):
        raise ConfigError(
            f'the folder {data_root!r} does not exist; point `data_root` at '
            'the folder of your images'
        )
    if split and fileio.isdir(fileio.join_path(data_root, split)):
        return split
    folders = {name: fileio.join_path(data_root, name) for name in _SPLITS}
    present = [name for name in _SPLITS if fileio.isdir(folders[name])]
    if present:
        wanted = f'no split {split!r}' if split else 'splits of its own'
        raise ConfigError(
            f'{data_root} has {wanted}, but {", ".join(present)}; set `split` '
            f'to one of them, or point `data_root` at another folder'
        )
    if split in ('val', 'test'):
        MMLogger.get_current_instance().warning(
            f'{data_root} has no folder {split!r}: all of its images serve as '
            'that split, and may be those of the training'
        )
    return ''


def _some(names: set[str], limit: int = 5) -> str:
    """The first few of a set of names."""
    shown = ', '.join(sorted(names)[:limit])
    return shown + (
        f' and {len(names) - limit} more' if len(names) > limit else ''
    )
