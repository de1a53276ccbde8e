import json
import os
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from PIL import Image

from mmhgkd.catalog.find_images import IMAGE_EXTENSIONS
from mmhgkd.datasets import ImageFolder
from mmhgkd.utils import ConfigError


def save(path: Path, value: int = 0, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size, size, 3), value, np.uint8))


def paths(dataset: ImageFolder) -> list[str]:
    root = Path(dataset.data_root)
    return [
        str(Path(dataset.get_data_info(i)['img_path']).relative_to(root))
        for i in range(len(dataset))
    ]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two splits; class a has 40 training images, b 10, and c 2."""
    for split, factor in (('train', 2), ('val', 1)):
        for name, count in (('a', 20), ('b', 5), ('c', 1)):
            for index in range(count * factor):
                save(tmp_path / split / name / f'{index:02}.png')
    return tmp_path


@pytest.fixture
def warnings(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    """What MMEngine's logger says; it does not pass it on to the root."""
    logger = MMLogger.get_current_instance()
    # Runs of other tests may have made it quiet, or said the same.
    level = logger.level
    logger.setLevel('INFO')
    monkeypatch.setattr('mmhgkd.utils.left_out._said', set())
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)


def test_nested_folder_without_labels(tmp_path: Path) -> None:
    names = ['a.png', 'b/c.webp', 'b/d/e.jpg', 'b/d/f.tiff', 'g.PNG']
    for name in names:
        save(tmp_path / name)
    (tmp_path / 'b/notes.txt').write_text('no image')
    dataset = ImageFolder(str(tmp_path), split='train')
    assert sorted(paths(dataset)) == names
    assert dataset.get_data_info(0)['split'] == 'train'
    assert 'gt_label' not in dataset.get_data_info(0)


def test_takes_the_split_only(classes: Path) -> None:
    for split, count in (('train', 52), ('val', 26)):
        dataset = ImageFolder(str(classes), split=split, with_label=True)
        assert len(dataset) == count
        assert all(path.startswith(f'{split}/') for path in paths(dataset))
        assert dataset.get_data_info(0)['split'] == split
        assert dataset.metainfo['classes'] == ('a', 'b', 'c')
        for index, path in enumerate(paths(dataset)):
            label = dataset.get_data_info(index)['gt_label']
            assert 'abc'[label] == path.split('/')[1]


def test_relative_root(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(classes.parent)
    dataset = ImageFolder(classes.name, split='val')
    assert Path(dataset.get_data_info(0)['img_path']).is_file()


def test_val_of_a_flat_folder_warns(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / 'a.png')
    ImageFolder(str(tmp_path), split='train')
    assert not warnings.records
    ImageFolder(str(tmp_path), split='val')
    assert "no folder 'val'" in warnings.text


@pytest.mark.parametrize('split', ['', 'test'])
def test_missing_split(classes: Path, split: str) -> None:
    with pytest.raises(ConfigError, match='train, val; set `split`') as info:
        ImageFolder(str(classes), split=split)
    assert str(classes) in str(info.value)
    assert '`data_root`' in str(info.value)


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'nowhere.*`data_root`'):
        ImageFolder(str(tmp_path / 'nowhere'))


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('no image')
    with pytest.raises(ConfigError, match='no image lies in') as info:
        ImageFolder(str(tmp_path))
    assert str(tmp_path) in str(info.value)
    assert '`data_root`' in str(info.value)


def test_no_class_folders(tmp_path: Path) -> None:
    save(tmp_path / 'a.png')
    with pytest.raises(ConfigError, match='no sub-folders') as info:
        ImageFolder(str(tmp_path), with_label=True)
    for text in (str(tmp_path), '`data_root`', '`with_label=False`'):
        assert text in str(info.value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(split='validation'), '`split` must be one of train, val, test'),
        (
            dict(label_fraction=0.0, with_label=True),
            '`label_fraction` must lie',
        ),
        (
            dict(label_fraction=1.5, with_label=True),
            '`label_fraction` must lie',
        ),
        (dict(label_fraction=0.5), '`with_label=True`'),
        (dict(max_images=0), '`max_images` must be a whole number of'),
    ],
)
def test_bad_options(classes: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageFolder(str(classes), **{'split': 'train', **options})


def test_classes_of_the_splits_must_agree(classes: Path) -> None:
    save(classes / 'val/d/0.png')
    with pytest.raises(ConfigError, match=r'differ by d;.*`data_root`'):
        ImageFolder(str(classes), split='val', with_label=True)


def test_class_without_images_warns(
    classes: Path, warnings: pytest.LogCaptureFixture
) -> None:
    (classes / 'val/c/00.png').unlink()
    dataset = ImageFolder(str(classes), split='val', with_label=True)
    assert dataset.metainfo['classes'] == ('a', 'b', 'c')
    assert 'no image lies in these classes' in warnings.text


def test_given_classes(classes: Path) -> None:

    def label_of_folder(names: list[str]) -> dict[str, int]:
        dataset = ImageFolder(
            str(classes), split='train', with_label=True, classes=names
        )
        assert dataset.metainfo['classes'] == tuple(names)
        return {
            path.split('/')[1]: dataset.get_data_info(index)['gt_label']
            for index, path in enumerate(paths(dataset))
        }

    assert label_of_folder(['c', 'a', 'b']) == dict(c=0, a=1, b=2)
    assert label_of_folder(['ant', 'bee', 'cat']) == dict(a=0, b=1, c=2)
    with pytest.raises(ConfigError, match=r'names 2 classes.* 3 sub-folders'):
        label_of_folder(['a', 'b'])


def test_label_fraction(classes: Path) -> None:

    def choose(fraction: float, seed: int = 0) -> list[str]:
        return paths(
            ImageFolder(
                str(classes),
                split='train',
                with_label=True,
                label_fraction=fraction,
                seed=seed,
                serialize_data=False,
            )
        )

    tenth = choose(0.1)
    counts = Counter(path.split('/')[1] for path in tenth)
    assert counts == dict(a=4, b=1, c=1)
    assert tenth == choose(0.1)
    assert tenth != choose(0.1, seed=1)
    assert set(choose(0.01)) < set(tenth) < set(choose(0.5))
    assert len(choose(0.01)) == 3


def test_max_images(classes: Path) -> None:

    def choose(count: int, seed: int = 0) -> list[str]:
        return paths(
            ImageFolder(
                str(classes),
                split='train',
                max_images=count,
                seed=seed,
                serialize_data=False,
            )
        )

    assert len(set(choose(20))) == 20
    assert choose(20) == choose(20)
    assert choose(20) != choose(20, seed=1)
    assert len(choose(1000)) == 52


def test_builds_from_another_scope(classes: Path) -> None:
    dataset = DATASETS.build(
        dict(
            type='mmhgkd.ImageFolder',
            data_root=str(classes),
            split='val',
            with_label=True,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='RandomResizedCrop', scale=4),
                dict(
                    type='PackInputs',
                    meta_keys=('img_path', 'img_shape', 'split'),
                ),
            ],
        )
    )
    assert isinstance(dataset, ImageFolder)
    sample = dataset[25]
    assert sample['inputs'].shape == (3, 4, 4)
    assert sample['data_samples'].gt_label.item() == 2
    assert sample['data_samples'].split == 'val'


def test_agrees_with_written_scenes(scenes: Path) -> None:
    settings = json.loads((scenes / 'cls/scenes.json').read_text())
    dataset = ImageFolder(
        str(scenes / 'cls'),
        split='train',
        with_label=True,
        classes=settings['classes'],
    )
    assert len(dataset) == settings['num_train']
    counts = np.bincount(dataset.get_gt_labels())
    assert counts.size == 10
    assert np.ptp(counts) <= 1


def left_out(warnings: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in warnings.records
        if 'left out' in record.getMessage()
    ]


@pytest.mark.parametrize('with_label', [False, True])
def test_formats_and_what_is_left_out(
    tmp_path: Path,
    warnings: pytest.LogCaptureFixture,
    with_label: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that can be read is, with or without an extension."""
    monkeypatch.setattr(
        'mmhgkd.datasets.image_folder.IMAGE_EXTENSIONS',
        tuple(set(IMAGE_EXTENSIONS) - {'.heic'}),
    )
    warnings.set_level('INFO')
    picture = Image.new('RGB', (8, 8))
    for name in ('a.gif', 'b.avif', 'c.jp2', 'd.JPG', 'e.jfif', 'f.png'):
        kind = 'JPEG' if name == 'e.jfif' else None
        (tmp_path / 'a').mkdir(exist_ok=True)
        picture.save(tmp_path / 'a' / name, kind)
    (tmp_path / 'a' / 'f.png').rename(tmp_path / 'a' / 'f')
    for name in ('g.heic', 'h.heic', 'i', 'j.txt'):
        (tmp_path / 'a' / name).write_bytes(b'no image')
    dataset = ImageFolder(str(tmp_path), with_label=with_label)
    names = ['a.gif', 'b.avif', 'c.jp2', 'd.JPG', 'e.jfif', 'f']
    assert paths(dataset) == [f'a/{name}' for name in names]
    (line,) = left_out(warnings)
    assert line.startswith(
        f'6 images in {tmp_path} (`pip install "mmhgkd[heif]"` '
        'reads HEIC); 4 left out (2 .heic, 1 .txt, 1 without extension): a/'
    )
    ImageFolder(str(tmp_path), with_label=with_label)
    assert len(left_out(warnings)) == 1


def test_list_in_the_log(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())
    save(tmp_path / 'a.png')
    for index in range(20):
        (tmp_path / f'{index:02}.csv').touch()
    log = tmp_path / 'a.log'
    MMLogger.get_instance('list', log_file=str(log), log_level='INFO')
    ImageFolder(str(tmp_path))
    text = log.read_text()
    assert '21 left out (20 .csv, 1 .log): the list is in the log' in text
    assert all(f'{index:02}.csv' in text for index in range(20))
    assert '07.csv' not in ''.join(capsys.readouterr())


def test_given_extensions_only(tmp_path: Path) -> None:
    save(tmp_path / 'a.png')
    save(tmp_path / 'b.jpg')
    (tmp_path / 'a.png').rename(tmp_path / 'without')
    assert paths(ImageFolder(str(tmp_path), extensions=['.JPG'])) == ['b.jpg']
    for wrong in ('jpg', ['jpg']):
        with pytest.raises(ConfigError, match=r'must be a list such as'):
            ImageFolder(str(tmp_path), extensions=wrong)


@pytest.mark.parametrize('with_label', [False, True])
def test_folders_of_systems(
    tmp_path: Path, warnings: pytest.LogCaptureFixture, with_label: bool
) -> None:
    warnings.set_level('INFO')
    for name in ('a/0.png', 'b/1.png', 'b/c/2.png'):
        save(tmp_path / name)
    system = ('.ipynb_checkpoints', '@eaDir', '__MACOSX', '.thumbnails')
    for name in system:
        save(tmp_path / name / '0.png')
        save(tmp_path / 'b' / name / '0.png')
    save(tmp_path / 'b' / '._1.png')
    dataset = ImageFolder(str(tmp_path), with_label=with_label)
    assert paths(dataset) == ['a/0.png', 'b/1.png', 'b/c/2.png']
    if with_label:
        assert dataset.metainfo['classes'] == ('a', 'b')
    (line,) = left_out(warnings)
    assert '; 9 left out (' in line
    for text in (*(f'2 {name}/' for name in system), '1 hidden'):
        assert text in line


def test_images_beside_the_classes(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    warnings.set_level('INFO')
    for name in ('a/0.png', 'b/1.png', '2.png'):
        save(tmp_path / name)
    assert len(ImageFolder(str(tmp_path), with_label=True)) == 2
    assert '1 left out (1 outside of the classes): 2.png' in warnings.text


@pytest.mark.parametrize('with_label', [False, True])
@pytest.mark.parametrize('name', ['train', 'val', 'test'])
def test_class_named_like_a_split(
    tmp_path: Path, name: str, with_label: bool
) -> None:
    for folder, count in ((name, 2), ('bus', 3), ('zebra', 3)):
        for index in range(count):
            save(tmp_path / folder / f'{index}.png')
    with pytest.raises(ConfigError, match=r'bus, zebra, .* be a class') as e:
        ImageFolder(str(tmp_path), split=name, with_label=with_label)
    assert "set `split=''` to take all" in str(e.value)
    dataset = ImageFolder(str(tmp_path), with_label=with_label)
    assert len(dataset) == 8
    if with_label:
        classes = sorted([name, 'bus', 'zebra'])
        assert dataset.metainfo['classes'] == tuple(classes)


def test_images_beside_the_splits(
    classes: Path, warnings: pytest.LogCaptureFixture
) -> None:
    warnings.set_level('INFO')
    save(classes / 'unlabeled' / 'a.png')
    assert len(ImageFolder(str(classes), split='train')) == 52
    assert 'images beside its splits in unlabeled, which are' in warnings.text


@pytest.mark.parametrize('with_label', [False, True])
def test_odd_files(
    tmp_path: Path, warnings: pytest.LogCaptureFixture, with_label: bool
) -> None:
    """Links in a circle, broken links, pipes, names that are no text."""
    warnings.set_level('INFO')
    save(tmp_path / 'a' / '0.png')
    (tmp_path / 'a' / 'up').symlink_to(tmp_path)
    (tmp_path / 'a' / 'self').symlink_to('self')
    (tmp_path / 'a' / 'gone.png').symlink_to('nothing')
    (tmp_path / 'elsewhere').mkdir()
    save(tmp_path / 'elsewhere' / '1.png')
    (tmp_path / 'a' / 'link').symlink_to(tmp_path / 'elsewhere')
    os.mkfifo(tmp_path / 'a' / 'pipe.png')
    name = os.fsdecode(b'\xff\xfe.png')
    save(tmp_path / 'a' / '2.png')
    (tmp_path / 'a' / '2.png').rename(tmp_path / 'a' / name)
    os.rename(tmp_path / 'a', tmp_path.parent / f'{tmp_path.name}-a')
    (tmp_path / 'a').symlink_to(tmp_path.parent / f'{tmp_path.name}-a')
    dataset = ImageFolder(str(tmp_path), with_label=with_label)
    found = paths(dataset)
    assert {'a/0.png', 'a/link/1.png', f'a/{name}'} <= set(found)
    text = warnings.text
    for kind in ('link in a circle', 'broken link', 'no plain file'):
        assert kind in text
