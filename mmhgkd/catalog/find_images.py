"""Finding images in folders, and what is left out of them."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from typing import Any

from mmhgkd.utils.image_headers import read_header

#: Extensions of the images that OpenCV or Pillow read.
IMAGE_EXTENSIONS: tuple[str, ...] = (
    *('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff'),
    *(
        '.webp',
        '.apng',
        '.avif',
        '.dib',
        '.gif',
        '.j2c',
        '.j2k',
        '.jfif',
        '.jp2',
    ),
    *('.jpe', '.jpf', '.jpx', '.mpo', '.pbm', '.pnm', '.psd', '.qoi'),
    *('.sgi', '.tga'),
)
if find_spec('pillow_heif') is not None:
    IMAGE_EXTENSIONS += ('.heic', '.heif')

#: Names that folders of splits have.
SPLITS = ('train', 'val', 'test')

# What systems and programs put into folders of images, apart from hidden ones.
_SYSTEM = {
    '#recycle',
    '$RECYCLE.BIN',
    '@eaDir',
    'System Volume Information',
    '__MACOSX',
    '__pycache__',
    'lost+found',
}

LeftOut = dict[str, list[str]]


def is_system(name: str) -> bool:
    """Whether a file or folder was put there by a system or a program."""
    return name.startswith('.') or name in _SYSTEM


def find_images(
    folder: str,
    is_image: Callable[[str], bool],
    without_extension: bool = True,
) -> tuple[list[str], LeftOut]:
    """Find the images below a folder, however nested.

    Args:
        folder (str): The folder, local or not.
        is_image (Callable): Tells by its name whether a file is an image.
        without_extension (bool): Whether local files without an extension
            are opened to see whether they are images. Defaults to True.

    Returns:
        tuple[list[str], dict[str, list[str]]]: Sorted paths of the images
        relative to the folder, and the paths of what is left out by kind.
    """
    files: list[str] = []
    left_out: LeftOut = defaultdict(list)
    for path, kind in _walk(folder):
        kind = kind or kind_of(
            os.path.join(folder, path), is_image, without_extension
        )
        if kind:
            left_out[kind].append(path)
        else:
            files.append(path)
    return sorted(files), {kind: sorted(left_out[kind]) for kind in left_out}


def kind_of(
    path: str, is_image: Callable[[str], bool], without_extension: bool = True
) -> str:
    """What a file is that is no image, such as '.txt'; '' for an image.

    Args:
        path (str): The file.
        is_image (Callable): As in :func:`find_images`.
        without_extension (bool): As in :func:`find_images`.
    """
    name = os.path.basename(path)
    if is_image(name):
        return ''
    extension = os.path.splitext(name)[1].lower()
    if extension:
        return extension
    if without_extension and _is_image(path):
        return ''
    return 'without extension'


def has_image_extension(name: str) -> bool:
    """Whether a file is an image by its name."""
    return name.lower().endswith(IMAGE_EXTENSIONS)


def find_folders(folder: str) -> list[str]:
    """Sorted names of the sub-folders, without those of systems."""
    names: Iterable[str]
    if _is_remote(folder):
        names = _backend(folder).list_dir_or_file(
            folder, list_dir=True, list_file=False, recursive=False
        )
    else:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _is_folder(entry)]
    return sorted(name for name in names if not is_system(name))


def has_images(folder: str, limit: int = 1000) -> bool:
    """Whether one of the first files below a folder is an image."""
    place: Any = _backend(folder) if _is_remote(folder) else os.path
    return place.isdir(folder) and any(
        not kind and has_image_extension(path)
        for path, kind in islice(_walk(folder), limit)
    )


def _walk(folder: str) -> Iterator[tuple[str, str]]:
    """Relative paths, and why something is no file to look at, or ''."""
    if not _is_remote(folder):
        yield from _walk_locally(folder, '', ())
        return
    for path in _backend(folder).list_dir_or_file(
        folder, list_dir=False, list_file=True, recursive=True
    ):
        system = [name for name in path.split('/') if is_system(name)]
        yield path, f'in {system[0]}' if system else ''


def _is_remote(folder: str) -> bool:
    """Whether a folder is none of this machine, as MMEngine tells it."""
    return '://' in folder


def _backend(folder: str) -> Any:
    # It imports PyTorch.
    from mmengine.fileio import get_file_backend

    return get_file_backend(folder, enable_singleton=True)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _walk_locally(
    root: str, below: str, parents: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, str]]:
    folder = os.path.join(root, below)
    status = os.stat(folder)
    place = status.st_dev, status.st_ino
    if place in parents:
        yield below, 'link in a circle'
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            path = os.path.join(below, entry.name)
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a link to itself
                is_folder = is_file = False
            if is_system(entry.name):
                yield path, f'{entry.name}/' if is_folder else 'hidden'
            elif is_folder:
                try:
                    yield from _walk_locally(root, path, (*parents, place))
                except PermissionError:
                    yield path, 'closed folder'
            elif is_file:
                yield path, ''
            else:
                broken = entry.is_symlink()
                yield path, 'broken link' if broken else 'no plain file'


def _is_image(path: str) -> bool:
    try:
        read_header(path)
    except Exception:  # a file of any kind can cause any
        return False
    return True
