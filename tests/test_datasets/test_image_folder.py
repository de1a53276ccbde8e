import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS

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
    caplog: pytest.LogCaptureFixture,
) -> Iterator[pytest.LogCaptureFixture]:
    """What MMEngine's logger says; it does not pass it on to the root."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


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
        (dict(max_images=0), '`max_images` must be at least 1'),
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
