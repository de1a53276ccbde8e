import os
import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine import fileio
from mmengine.dataset import ConcatDataset
from mmengine.logging import MMLogger
from mmpretrain.datasets import CustomDataset

from mmhgkd.catalog.find_images import (
    IMAGE_EXTENSIONS,
    SPLITS,
    LeftOut,
    find_folders,
    find_images,
    is_system,
)
from mmhgkd.registry import DATASETS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.left_out import count_kinds, say_once
from mmhgkd.utils.value_checks import is_count

from .check_sample import check_sample
from .find_split import find_split, shorten
from .load_image import LoadImage


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """Images in folders, with or without labels.

    Without labels all images below the folder are taken, however nested. With
    labels there is a sub-folder a class. The folder is ``data_root/split``
    where it exists, so that validation images never get into pre-training,
    and ``data_root`` itself where it holds no split at all. Hidden folders and
    those of systems, such as ``@eaDir``, are passed over. What is left out is
    counted in the log.

    Samples carry ``split``, which a pipeline can pack as a meta key.

    Args:
        data_root (str): Folder of the data set.
        split (str): 'train', 'val', 'test', or '' for a ``data_root`` without
            splits, where a folder of such a name is a class like the others.
            Defaults to ''.
        with_label (bool): Whether sub-folders are classes.
            Defaults to False.
        label_fraction (float): Share of the images of each class that is
            kept, at least one a class, in (0, 1]. A smaller share is a subset
            of a larger one. Defaults to 1.0.
        max_images (int, optional): Keep a random choice of that many images.
            Defaults to None, which means all.
        seed (int): Seed of both choices. Defaults to 0.
        extensions (Sequence[str], optional): Extensions of image files, such
            as ['.jpg']. Defaults to None, which means all that OpenCV or
            Pillow read, and images without an extension; HEIC needs
            ``pip install "mmhgkd[heif]"``.
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
        extensions: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(data_root, (str, os.PathLike)) or not data_root:
            raise ConfigError(
                f'`data_root` must be the name of a folder, got {data_root!r}'
            )
        if split not in ('', *SPLITS):
            raise ConfigError(
                f'`split` must be one of {", ".join(SPLITS)} or '
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
        if max_images is not None and not is_count(max_images, 1):
            raise ConfigError(
                '`max_images` must be a whole number of at least 1, got '
                f'{max_images!r}'
            )
        if extensions is not None and (
            isinstance(extensions, str)
            or not extensions
            or not all(name.startswith('.') for name in extensions)
        ):
            raise ConfigError(
                "`extensions` must be a list such as ['.jpg', '.png'], got "
                f'{extensions!r}'
            )
        data_root = osp.expanduser(data_root)
        self._folder = find_split(data_root, split)
        self.any_extension = extensions is None
        self.split = split
        self.label_fraction = label_fraction
        self.max_images = max_images
        self.seed = seed
        super().__init__(
            data_root=data_root,
            data_prefix=self._folder,
            with_label=with_label,
            extensions=IMAGE_EXTENSIONS if extensions is None else extensions,
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
        paths = [info['img_path'] for info in data_list]
        for step in self.pipeline.transforms:
            if isinstance(step, LoadImage) and '://' not in paths[0]:
                check_sample(paths, step, self.img_prefix)
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
        samples: list = []
        left_out: LeftOut = {}
        empty = []
        if not self.with_label:
            samples, left_out = self._find_images('')
        else:
            for name, label in sorted(self.class_folders().items()):
                files, others = self._find_images(name)
                samples += [(file, label) for file in files]
                for kind, paths in others.items():
                    left_out.setdefault(kind, []).extend(paths)
                if not files:
                    empty.append(name)
            self._find_outside_of_classes(left_out)
        self._say(len(samples), left_out)
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

    def _find_images(self, name: str) -> tuple[list[str], LeftOut]:
        """Images below a sub-folder, and what is left out of it."""
        files, left_out = find_images(
            fileio.join_path(self.img_prefix, name)
            if name
            else self.img_prefix,
            self.is_valid_file,
            self.any_extension,
        )
        if not name:
            return files, left_out
        return [fileio.join_path(name, file) for file in files], {
            kind: [fileio.join_path(name, path) for path in paths]
            for kind, paths in left_out.items()
        }

    def _find_outside_of_classes(self, left_out: LeftOut) -> None:
        """Note images and system folders beside those of the classes."""
        for name in fileio.list_dir_or_file(self.img_prefix):
            if self.is_valid_file(name):
                kind = 'outside of the classes'
            elif is_system(osp.basename(name)):
                kind = f'{osp.basename(name)}/'
            else:
                continue
            left_out.setdefault(kind, []).append(name)

    def _say(self, count: int, left_out: LeftOut) -> None:
        """Count once what is left out."""
        names = [name for paths in left_out.values() for name in paths]
        text = f'{count:,} images in {self.img_prefix.rstrip("/")}'
        if {'.heic', '.heif'} & set(left_out) and self.any_extension:
            text += ' (`pip install "mmhgkd[heif]"` reads HEIC)'
        if names:
            text += f'; {len(names):,} left out ({count_kinds(left_out)})'
            say_once(text, names)

    def class_folders(self) -> dict[str, int]:
        """Find the label of each sub-folder.

        Returns:
            dict[str, int]: Labels by name.

        Raises:
            ConfigError: If there are none, or if they disagree with
                ``classes`` or with the train split.
        """
        folder = self.img_prefix
        found = find_folders(folder)
        if not found:
            raise ConfigError(
                f'{folder} has no sub-folders, but `with_label=True` takes '
                'one a class; sort the images into such folders, point '
                '`data_root` elsewhere, or set `with_label=False`'
            )
        train = fileio.join_path(self.data_root, 'train')
        if self._folder not in ('', 'train') and fileio.isdir(train):
            different = set(found) ^ set(find_folders(train))
            if different:
                raise ConfigError(
                    f'the classes in {folder} and {train} differ by '
                    f'{shorten(different)}; both splits of `data_root` need '
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
                f'{shorten(set(self.CLASSES) ^ set(found))}'
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
