import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mmhgkd.utils import ConfigError
from mmhgkd.utils.image_headers import read_header

from .find_images import (
    SPLITS,
    find_folders,
    find_images,
    has_image_extension,
    has_images,
    kind_of,
)
from .pixels import check_pixels, to_pil

LOOKED_AT = 1000  #: photos whose header is read
_GLOB = frozenset('*?[')
_HEIC = ('.heic', '.heif')


@dataclass
class Photos:
    """The photos of a distillation, and what was found beside them.

    Args:
        source (str): What was asked for, to show.
        files (list[str]): Absolute paths, sorted.
        folder (Path, optional): The folder they come from, if it is one.
        left_out (Counter): Files that are no photos, by the reason.
        formats (Counter): Formats of the photos that were looked at.
        sizes (list[tuple[int, int]]): Their width and height.
        labels (list[int]): Class of each file, empty without classes.
        classes (list[str]): Names of the classes.
        held_out (frozenset[str]): Files of a split ``val``: they are no
            training photos, and serve the comparison at the end.
    """

    source: str
    files: list[str]
    folder: Path | None = None
    left_out: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    held_out: frozenset[str] = frozenset()

    @property
    def training(self) -> list[str]:
        """The files that the student is trained on."""
        return [file for file in self.files if file not in self.held_out]

    def describe(self) -> str:
        """What was found, in one line."""
        text = f'{len(self.training):,}'
        if self.held_out:
            text += f' (and {len(self.held_out):,} held out in val)'
        formats = ', '.join(name for name, _ in self.formats.most_common(4))
        if self.sizes:
            widths, heights = zip(*self.sizes, strict=True)
            text += f', {formats}, {min(widths)}x{min(heights)} to '
            text += f'{max(widths)}x{max(heights)} px'
        if self.left_out:
            reasons = ', '.join(
                f'{number} {kind}'
                for kind, number in self.left_out.most_common(4)
            )
            text += f'; left out: {reasons}'
            if any(kind in _HEIC for kind in self.left_out):
                text += ' (`pip install "mmhgkd[heif]"` reads HEIC)'
        return text

    @property
    def shorter_side(self) -> float:
        """Median of the shorter sides in pixels; 0 if none was read."""
        return median(map(min, self.sizes)) if self.sizes else 0


def find_photos(
    images: Any,
    store: str | Path | None = None,
    without: str | Path | None = None,
) -> Photos:
    """Find the photos that are meant.

    Args:
        images (str or PathLike or Sequence): A folder, photos at any depth; a
            file; a pattern such as ``'photos/**/*.jpg'``; a text file with a
            path a line; or a list of files, PIL images or RGB arrays
            ``(H, W, 3)`` in 0..255; or one array ``(N, H, W, 3)``. Photos
            that were found already are what is returned.
        store (str or Path, optional): Folder that receives images which are
            no files. Defaults to None, which refuses them.
        without (str or Path, optional): A folder in that of the photos which
            is passed over, as it holds results. Defaults to None.

    Raises:
        ConfigError: If there are no photos, or what is given is none.
    """
    if isinstance(images, Photos):
        return images
    if isinstance(images, (str, os.PathLike)):
        photos = _find(os.fspath(images), without)
    else:
        photos = _collect(images, store)
    if not photos.training:
        kinds = ', '.join(f'{n} {kind}' for kind, n in photos.left_out.items())
        raise ConfigError(
            f'no photo lies in {photos.source}'
            + (f' (found {kinds})' if kinds else '')
            + '; give a folder with images such as .jpg, .png, .tif or .webp'
        )
    _look(photos)
    return photos


def _find(text: str, without: str | Path | None) -> Photos:
    if not text:
        raise ConfigError('`images` is empty; give the folder of your photos')
    path = Path(text).expanduser()
    if path.is_dir():
        results = Path(without).expanduser().resolve() if without else None
        if results == path.resolve():
            raise ConfigError(
                f'{text} holds the photos; choose another folder for what is '
                'written'
            )
        return _find_in_folder(path, results)
    if path.is_file() and path.suffix.lower() == '.txt':
        lines = path.read_text(encoding='utf-8').splitlines()
        names = [line.strip() for line in lines if line.strip()]
        photos = _from_files([path.parent / name for name in names])
        photos.source = text
        return photos
    if path.is_file():
        photos = _from_files([path])
        photos.source = text
        return photos
    if _GLOB & set(text):
        found = glob.glob(str(path), recursive=True)
        photos = Photos(text, [])
        _sort_out(photos, (name for name in found if os.path.isfile(name)))
        return photos
    raise ConfigError(
        f'there is no folder {text}; give that of your photos, a file, or a '
        'quoted pattern such as "photos/**/*.jpg"'
    )


def _find_in_folder(folder: Path, without: Path | None) -> Photos:
    root = str(folder.resolve())
    photos = Photos(str(folder), [], folder.resolve())
    splits, others = _find_splits(root)
    if splits:
        for name in splits:
            _walk(photos, os.path.join(root, name), without)
        val = os.path.join(root, 'val') + os.sep
        photos.held_out = frozenset(
            file for file in photos.files if file.startswith(val)
        )
        photos.left_out.update(f'{name}/' for name in others)
    else:
        _walk(photos, root, without)
    _find_classes(photos, root, bool(splits))
    return photos


def _find_splits(root: str) -> tuple[list[str], list[str]]:
    """The splits that serve, and the other folders with images.

    A lone folder with the name of a split is a class like those beside it.
    """
    folders = _readable(find_folders, root)
    others = [
        name
        for name in folders
        if name not in SPLITS and has_images(os.path.join(root, name))
    ]
    splits = [name for name in SPLITS if name in folders]
    if 'train' not in splits or (len(splits) == 1 and others):
        return [], []
    return splits[: 1 + ('val' in splits)], [
        *others,
        *(name for name in splits if name == 'test'),
    ]


def _readable(find: Callable[..., Any], root: str, *rest: Any) -> Any:
    try:
        return find(root, *rest)
    except PermissionError as error:
        raise ConfigError(
            f'the folder {root} cannot be read ({error.strerror}); ask for '
            'the right to, or copy the photos'
        ) from error


def _walk(photos: Photos, root: str, without: Path | None) -> None:
    """Add the photos below a folder."""
    files, left_out = _readable(find_images, root, has_image_extension)
    # Nothing starts with '/' below a folder.
    results = f'{os.path.relpath(without, root)}{os.sep}' if without else '/'
    for kind, paths in left_out.items():
        count = sum(not path.startswith(results) for path in paths)
        photos.left_out.update({kind: count} if count else {})
    _keep(
        photos,
        (
            os.path.join(root, file)
            for file in files
            if not file.startswith(results)
        ),
    )


def _sort_out(photos: Photos, paths: Iterable[str]) -> None:
    """Keep the photos among files, and count the others."""
    images = []
    for path in paths:
        kind = kind_of(path, has_image_extension)
        if kind:
            photos.left_out[kind] += 1
        else:
            images.append(os.path.abspath(path))
    _keep(photos, images)


def _keep(photos: Photos, images: Iterable[str]) -> None:
    for path in images:
        if os.path.getsize(path):
            photos.files.append(path)
        else:
            photos.left_out['empty'] += 1
    photos.files.sort()


def _find_classes(photos: Photos, root: str, has_splits: bool) -> None:
    """Take one folder a class, where the folders look like that."""
    depth = 1 if has_splits else 0
    names = []
    for file in photos.files:
        parts = os.path.relpath(file, root).split(os.sep)[depth:]
        if len(parts) != 2:
            return
        names.append(parts[0])
    counts = Counter(names)
    # Folders by day or by camera are no classes, nor are folders of one.
    if not 2 <= len(counts) <= 1000 or min(counts.values()) < 4:
        return
    photos.classes = sorted(counts)
    numbers = {name: index for index, name in enumerate(photos.classes)}
    photos.labels = [numbers[name] for name in names]


def _collect(images: Any, store: str | Path | None) -> Photos:
    if isinstance(images, np.ndarray):
        check_pixels(images[None] if images.ndim == 3 else images)
        images = [images] if images.ndim == 3 else list(images)
    if not isinstance(images, Sequence):
        try:
            images = list(images)
        except TypeError:
            raise ConfigError(
                '`images` must be a folder, files, PIL images or arrays, got '
                f'{type(images).__name__}'
            ) from None
    if all(isinstance(image, (str, os.PathLike)) for image in images):
        return _from_files(images)
    if store is None:
        raise ConfigError('images that are no files need a folder to be in')
    folder = Path(store)
    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(images)))
    files = []
    for index, image in enumerate(images):
        path = folder / f'{index:0{digits}}.png'
        to_pil(image, index).save(path)
        files.append(str(path.resolve()))
    return Photos(f'{len(files):,} images in memory', files)


def _from_files(images: Iterable[str | os.PathLike]) -> Photos:
    files = [os.path.abspath(os.path.expanduser(image)) for image in images]
    for file in files:
        if os.path.isdir(file):
            raise ConfigError(
                f'{file} is a folder among several; give one folder alone, or '
                'a quoted pattern such as "{a,b}/**/*.jpg" for each file'
            )
        if not os.path.isfile(file):
            raise ConfigError(f'there is no file {file}; correct the list')
    files = list(dict.fromkeys(files))
    photos = Photos(f'{len(files):,} files', [])
    _sort_out(photos, files)
    return photos


def _look(photos: Photos) -> None:
    """Read sizes and formats of some photos, evenly spread."""
    files = photos.files
    step = max(1, -(-len(files) // LOOKED_AT))
    unreadable = set()
    for file in files[::step]:
        try:
            header = read_header(file)
        except Exception:  # a file of any kind can cause any
            unreadable.add(file)
        else:
            photos.sizes.append(header.turned_size)
            photos.formats[header.format] += 1
    if not unreadable:
        return
    photos.left_out['unreadable'] += len(unreadable)
    kept = [i for i, file in enumerate(files) if file not in unreadable]
    photos.files = [files[i] for i in kept]
    if photos.labels:
        photos.labels = [photos.labels[i] for i in kept]
    if not photos.training:
        raise ConfigError(
            f'none of the {len(files)} images in {photos.source} can be read'
        )
