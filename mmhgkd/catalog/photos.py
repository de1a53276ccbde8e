import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmhgkd.utils import ConfigError

EXTENSIONS = frozenset(
    ['.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp']
)
LOOKED_AT = 1000  #: photos whose header is read
SPLITS = ('train', 'val', 'test')
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
                text += ' (convert HEIC to JPEG to use it)'
        return text

    @property
    def shorter_side(self) -> float:
        """Median of the shorter sides in pixels; 0 if none was read."""
        return median(map(min, self.sizes)) if self.sizes else 0


def find_photos(images: Any, store: str | Path | None = None) -> Photos:
    """Find the photos that are meant.

    Args:
        images (str or PathLike or Sequence): A folder, photos at any depth; a
            file; a pattern such as ``'photos/**/*.jpg'``; a text file with a
            path a line; or a list of files, PIL images or RGB arrays
            ``(H, W, 3)`` in 0..255; or one array ``(N, H, W, 3)``. Photos
            that were found already are what is returned.
        store (str or Path, optional): Folder that receives images which are
            no files. Defaults to None, which refuses them.

    Raises:
        ConfigError: If there are no photos, or what is given is none.
    """
    if isinstance(images, Photos):
        return images
    if isinstance(images, (str, os.PathLike)):
        photos = _find(os.fspath(images))
    else:
        photos = _collect(images, store)
    if not photos.training:
        kinds = ', '.join(f'{n} {kind}' for kind, n in photos.left_out.items())
        raise ConfigError(
            f'no photo lies in {photos.source}'
            + (f' (found {kinds})' if kinds else '')
            + f'; give a folder with {", ".join(sorted(EXTENSIONS))}'
        )
    _look(photos)
    return photos


def _find(text: str) -> Photos:
    path = Path(text).expanduser()
    if path.is_dir():
        return _find_in_folder(path)
    if path.is_file() and path.suffix.lower() == '.txt':
        lines = path.read_text(encoding='utf-8').splitlines()
        names = [line.strip() for line in lines if line.strip()]
        photos = _from_files([path.parent / name for name in names])
        photos.source = text
        return photos
    if path.is_file():
        return _from_files([path])
    if _GLOB & set(text):
        found = glob.glob(str(path), recursive=True)
        photos = Photos(text, [])
        _sort_out(photos, (name for name in found if os.path.isfile(name)))
        return photos
    raise ConfigError(
        f'there is no folder {text}; give that of your photos, a file, or a '
        'quoted pattern such as "photos/**/*.jpg"'
    )


def _find_in_folder(folder: Path) -> Photos:
    photos = Photos(str(folder), [], folder.resolve())
    root = str(folder.resolve())
    splits = [name for name in SPLITS if (folder / name).is_dir()]
    if 'train' in splits:
        for name in splits[:2] if 'val' in splits else ['train']:
            _sort_out(photos, _walk(os.path.join(root, name)))
        val = os.path.join(root, 'val') + os.sep
        photos.held_out = frozenset(
            file for file in photos.files if file.startswith(val)
        )
    else:
        _sort_out(photos, _walk(root))
    _find_classes(photos, root, 'train' in splits)
    return photos


def _walk(root: str) -> Iterable[str]:
    for folder, folders, names in os.walk(root, followlinks=True):
        # What cameras and systems hide.
        folders[:] = sorted(
            name for name in folders if not name.startswith(('.', '__MACOSX'))
        )
        for name in sorted(names):
            if not name.startswith('.'):
                yield os.path.join(folder, name)


def _sort_out(photos: Photos, paths: Iterable[str]) -> None:
    """Keep the photos among files, and count the others."""
    for path in paths:
        extension = os.path.splitext(path)[1].lower()
        if extension not in EXTENSIONS:
            photos.left_out[extension or 'without ending'] += 1
        elif os.path.getsize(path) == 0:
            photos.left_out['empty'] += 1
        else:
            photos.files.append(os.path.abspath(path))
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
        _check_pixels(images[None] if images.ndim == 3 else images)
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
        _to_pil(image, index).save(path)
        files.append(str(path.resolve()))
    return Photos(f'{len(files):,} images in memory', files)


def _from_files(images: Iterable[str | os.PathLike]) -> Photos:
    files = [os.path.abspath(os.path.expanduser(image)) for image in images]
    for file in files:
        if not os.path.isfile(file):
            raise ConfigError(f'there is no file {file}; correct the list')
    files = list(dict.fromkeys(files))
    photos = Photos(f'{len(files):,} files', [])
    _sort_out(photos, files)
    return photos


def _to_pil(image: Any, index: int) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert('RGB')
    if isinstance(image, (str, os.PathLike)):
        try:
            with Image.open(image) as opened:
                return opened.convert('RGB')
        except (OSError, UnidentifiedImageError) as error:
            raise ConfigError(f'cannot read image {index}: {error}') from error
    pixels = np.asarray(image)
    _check_pixels(pixels[None], f'image {index}')
    return Image.fromarray(pixels.astype(np.uint8))


def _check_pixels(pixels: np.ndarray, what: str = '`images`') -> None:
    """Refuse arrays whose scale or order of axes is a guess."""
    if pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ConfigError(
            f'{what} must be RGB arrays (H, W, 3), got the shape '
            f'{pixels.shape[1:]}'
            + (
                '; move the channels with `array.transpose(1, 2, 0)`'
                if pixels.ndim == 4 and pixels.shape[1] == 3
                else ''
            )
        )
    if pixels.dtype == np.uint8 or not pixels.size:
        return
    low, high = float(pixels.min()), float(pixels.max())
    if np.issubdtype(pixels.dtype, np.floating) and high <= 1:
        raise ConfigError(
            f'{what} holds floats in {low:.3g}..{high:.3g}, which would be '
            'black images; pass `(255 * array).astype("uint8")`'
        )
    if not 0 <= low <= high <= 255:
        raise ConfigError(
            f'{what} holds values in {low:.4g}..{high:.4g}; pass RGB in 0..255'
        )


def _look(photos: Photos) -> None:
    """Read sizes and formats of some photos, evenly spread."""
    files = photos.files
    step = max(1, -(-len(files) // LOOKED_AT))
    unreadable = set()
    for file in files[::step]:
        try:
            with Image.open(file) as image:
                photos.sizes.append(image.size)
                photos.formats[image.format] += 1
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ):
            unreadable.add(file)
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
