from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmhgkd.catalog import find_photos
from mmhgkd.datasets import ImageFolder
from mmhgkd.utils import ConfigError


def write(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, 'red').save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / 'photos'
    write(root / 'a.jpg')
    write(root / 'deep' / 'er' / 'b with spaces.PNG', (80, 60))
    write(root / '.hidden' / 'c.jpg')
    (root / 'd.hei').write_bytes(b'x')
    (root / 'e.txt').write_text('x')
    (root / 'f.jpg').touch()
    (root / 'g.jpg').write_bytes(b'no image')
    return root


def test_a_folder(folder: Path) -> None:
    photos = find_photos(folder)
    assert photos.files == [
        str(folder / name)
        for name in ImageFolder(str(folder))._find_images('')[0]
        if name not in ('f.jpg', 'g.jpg')  # empty, no image
    ]
    names = [Path(file).name for file in photos.files]
    assert names == ['a.jpg', 'b with spaces.PNG']
    assert photos.left_out == {
        '.hei': 1,
        '.txt': 1,
        '.hidden/': 1,
        'empty': 1,
        'unreadable': 1,
    }
    assert photos.sizes == [(40, 30), (80, 60)]
    assert photos.shorter_side == 45
    text = photos.describe()
    assert text.startswith('2, JPEG, PNG, 40x30 to 80x60 px; left out: ')
    assert '1 .hei' in text and 'reads HEIC' not in text
    photos.left_out.clear()
    photos.left_out['.heic'] = 1
    assert '(`pip install "mmhgkd[heif]"` reads HEIC)' in photos.describe()
    assert not photos.classes and photos.training == photos.files


def test_patterns_lists_and_files(folder: Path, tmp_path: Path) -> None:
    a, b = folder / 'a.jpg', folder / 'deep' / 'er' / 'b with spaces.PNG'
    for images in (
        f'{folder}/**/*[gG]',
        [a, str(b)],
        iter([a, b, a]),
    ):
        photos = find_photos(images)
        assert photos.files == [str(a), str(b)]
    listed = tmp_path / 'list.txt'
    listed.write_text('photos/a.jpg\n\nphotos/deep/er/b with spaces.PNG\n')
    assert find_photos(listed).files == [str(a), str(b)]
    assert find_photos(a).files == [str(a)]
    assert find_photos(photos) is photos


def test_images_in_memory(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), np.uint8)
    for images in (
        pixels,
        list(pixels),
        [Image.fromarray(row) for row in pixels],
        pixels.astype(np.float32),
    ):
        photos = find_photos(images, tmp_path)
        read = [np.asarray(Image.open(file)) for file in photos.files]
        np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        (np.full((2, 8, 8, 3), 0.5), r'pass `\(255 \* array\)'),
        (np.full((2, 8, 8, 3), 300), 'pass RGB in 0..255'),
        (np.full((2, 8, 8, 3), -1.0), 'RGB in 0..255|black images'),
        (np.zeros((2, 3, 8, 8), np.uint8), r'transpose\(1, 2, 0\)'),
        ([np.zeros((8, 8), np.uint8)], r'must be RGB arrays \(H, W, 3\)'),
        (7, 'must be a folder, files, PIL images or arrays, got int'),
        ('/no/such', 'there is no folder /no/such'),
        (['.', '..'], 'is a folder among several; give one'),
        (['/no/such.jpg'], 'there is no file /no/such.jpg'),
        ('/no/such/*.jpg', 'no photo lies in'),
        ([], 'no photo lies in'),
    ],
)
def test_bad_input(images: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        find_photos(images, tmp_path)


def test_classes(tmp_path: Path) -> None:
    for name in ('cat', 'dog'):
        for index in range(4):
            write(tmp_path / 'flat' / name / f'{index}.png')
            for split in ('train', 'val'):
                write(tmp_path / 'split' / split / name / f'{index}.png')
    flat = find_photos(tmp_path / 'flat')
    assert flat.classes == ['cat', 'dog']
    assert flat.labels == [0] * 4 + [1] * 4
    assert not flat.held_out
    split = find_photos(tmp_path / 'split')
    assert split.labels == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4
    assert len(split.training) == 8
    assert all('/train/' in file for file in split.training)
    # A photo beside the folders, or days with one photo, are no classes.
    write(tmp_path / 'flat' / 'e.png')
    assert not find_photos(tmp_path / 'flat').labels
    write(tmp_path / 'days' / '2024-01-01' / '0.png')
    write(tmp_path / 'days' / '2024-01-02' / '0.png')
    assert not find_photos(tmp_path / 'days').labels


def test_the_walk_of_the_training(tmp_path: Path) -> None:
    """Links in a circle, folders of systems, formats, no extension."""
    root = tmp_path / 'photos'
    for name in ('a.gif', 'b.avif', 'c.jp2', 'd.jfif', 'e.mpo', 'f.png'):
        path = write(root / name.replace('jfif', 'jpg').replace('mpo', 'jpg'))
        path.rename(root / name)
    (root / 'f.png').rename(root / 'f')
    for name in ('@eaDir', '__MACOSX', '#recycle', '.thumbnails'):
        write(root / 'sub' / name / '0.png')
    write(root / 'sub' / '._0.png')
    (root / 'sub' / 'up').symlink_to(root)
    (root / 'sub' / 'gone.png').symlink_to('nothing')
    (root / 'g').write_text('no image')
    photos = find_photos(root)
    names = ['a.gif', 'b.avif', 'c.jp2', 'd.jfif', 'e.mpo', 'f']
    assert [Path(file).name for file in photos.files] == names
    assert photos.left_out == {
        '@eaDir/': 1,
        '__MACOSX/': 1,
        '#recycle/': 1,
        '.thumbnails/': 1,
        'hidden': 1,
        'link in a circle': 1,
        'broken link': 1,
        'without extension': 1,
    }
    files = [str(root / name) for name in (*names, 'g')]
    listed = find_photos(files)
    assert listed.files == photos.files
    assert listed.left_out == {'without extension': 1}


def test_a_class_named_like_a_split(tmp_path: Path) -> None:
    for name in ('bus', 'train', 'zebra'):
        for index in range(4):
            write(tmp_path / name / f'{index}.png')
    photos = find_photos(tmp_path)
    assert photos.classes == ['bus', 'train', 'zebra']
    assert not photos.held_out and len(photos.training) == 12
    for name in ('val', 'test'):
        (tmp_path / name).mkdir()
        write(tmp_path / name / '0.png')
    photos = find_photos(tmp_path)
    assert len(photos.training) == 4 and len(photos.held_out) == 1
    assert photos.left_out == {'bus/': 1, 'zebra/': 1, 'test/': 1}


def test_results_among_the_photos(tmp_path: Path) -> None:
    for name in ('cat', 'dog', 'out'):
        for index in range(4):
            write(tmp_path / name / f'{index}.png')
    (tmp_path / 'out' / 'plan.json').touch()
    photos = find_photos(tmp_path, without=tmp_path / 'out')
    assert photos.classes == ['cat', 'dog']
    assert len(photos.files) == 8 and not photos.left_out
    assert len(find_photos(tmp_path).files) == 12
    assert len(find_photos(tmp_path, without=tmp_path / 'ca').files) == 12
    assert len(find_photos(tmp_path / 'out', without=tmp_path).files) == 4
    with pytest.raises(ConfigError, match='holds the photos; choose another'):
        find_photos(tmp_path, without=tmp_path)


def test_a_folder_that_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: str) -> None:
        raise PermissionError(13, 'Permission denied', folder)

    monkeypatch.setattr('os.scandir', refuse)
    with pytest.raises(ConfigError, match=r'cannot be read \(Permission'):
        find_photos(tmp_path)


def test_unreadable_ones_lose_their_label(tmp_path: Path) -> None:
    for name in ('cat', 'dog'):
        for index in range(5):
            write(tmp_path / name / f'{index}.png')
    (tmp_path / 'cat' / '2.png').write_bytes(b'no image')
    photos = find_photos(tmp_path)
    assert photos.labels == [0] * 4 + [1] * 5
    assert len(photos.files) == 9
