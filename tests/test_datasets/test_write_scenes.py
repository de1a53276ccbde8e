import os
from collections import Counter
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from mmseg.utils import register_all_modules
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmhgkd.datasets.scenes import SHAPES, SceneGenerator, write_scenes
from mmhgkd.datasets.scenes.writers import ClassificationWriter
from mmhgkd.utils import ConfigError

GENERATOR = SceneGenerator(64, seed=3)
COUNTS = dict(train=23, val=5)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize(('task', 'plain'), [('cls', False), ('shapes', True)])
def test_classification(task: str, plain: bool, scenes: Path) -> None:
    root = scenes / task
    for split, count in COUNTS.items():
        found = sorted((root / split).rglob('*.png'), key=lambda p: p.name)
        assert len(found) == count
        per_class = Counter(path.parent.name for path in found)
        assert max(per_class.values()) - min(per_class.values()) <= 1
        assert sorted(os.listdir(root / split)) == sorted(SHAPES)
        for index, path in enumerate(found):
            assert path.name == f'{index + 1:06}.png'
            label = SHAPES.index(path.parent.name)
            np.testing.assert_array_equal(
                mmcv.imread(str(path), channel_order='rgb'),
                GENERATOR.scene(split, index, label, plain).image,
            )


@pytest.mark.parametrize('split', ['train', 'val'])
def test_detection(scenes: Path, split: str) -> None:
    root = scenes / 'det'
    coco = COCO(str(root / 'annotations' / f'instances_{split}2017.json'))
    assert {'info', 'licenses'} <= set(coco.dataset)
    assert [item['name'] for item in coco.loadCats(coco.getCatIds())] == list(
        SHAPES
    )
    assert coco.getImgIds() == list(range(1, COUNTS[split] + 1))
    assert len(os.listdir(root / f'{split}2017')) == COUNTS[split]
    ids = coco.getAnnIds()
    assert len(set(ids)) == len(coco.dataset['annotations'])
    for image_id in coco.getImgIds():
        info = coco.loadImgs(image_id)[0]
        image = mmcv.imread(
            str(root / f'{split}2017' / info['file_name']), channel_order='rgb'
        )
        assert image.shape == (info['height'], info['width'], 3)
        scene = GENERATOR.scene(split, image_id - 1)
        assert np.abs(image.astype(int) - scene.image).mean() < 8
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        assert [item['category_id'] - 1 for item in annotations] == list(
            scene.labels
        )
        seen = np.zeros(image.shape[:2], int)
        for number, item in enumerate(annotations):
            mask = coco.annToMask(item)
            np.testing.assert_array_equal(mask, scene.instances == number + 1)
            assert item['area'] == mask.sum() > 0
            assert item['iscrowd'] == 0
            rle = item['segmentation']
            assert isinstance(rle['counts'], str)
            np.testing.assert_array_equal(item['bbox'], coco_mask.toBbox(rle))
            seen += mask
        assert seen.max() == 1


def test_segmentation(scenes: Path) -> None:
    root = scenes / 'seg'
    for split, folder in (('train', 'training'), ('val', 'validation')):
        names = sorted(os.listdir(root / 'annotations' / folder))
        images = sorted(os.listdir(root / 'images' / folder))
        assert [name[:-4] for name in names] == [name[:-4] for name in images]
        assert len(names) == COUNTS[split]
        for index, name in enumerate(names):
            labels = mmcv.imread(
                str(root / 'annotations' / folder / name), flag='unchanged'
            )
            assert labels.dtype == np.uint8 and labels.ndim == 2
            scene = GENERATOR.scene(split, index)
            np.testing.assert_array_equal(labels == 11, scene.instances == 0)
            for number, label in enumerate(scene.labels):
                assert set(labels[scene.mask(number)]) == {label + 1}


def test_segmentation_is_read_by_mmseg(scenes: Path) -> None:
    register_all_modules(init_default_scope=False)
    names = (*SHAPES, 'background')
    dataset = BaseSegDataset(
        data_root=str(scenes / 'seg'),
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations/validation'
        ),
        metainfo=dict(classes=names),
        reduce_zero_label=True,
        img_suffix='.jpg',
        seg_map_suffix='.png',
        pipeline=[
            dict(type='mmseg.LoadImageFromFile'),
            dict(type='mmseg.LoadAnnotations'),
        ],
    )
    assert len(dataset) == COUNTS['val']
    for index in range(len(dataset)):
        scene = GENERATOR.scene('val', index)
        expected = np.full((64, 64), names.index('background'))
        for number, label in enumerate(scene.labels):
            expected[scene.mask(number)] = label
        np.testing.assert_array_equal(dataset[index]['gt_seg_map'], expected)


def test_workers_do_not_matter(scenes: Path, tmp_path: Path) -> None:
    root = write_scenes(
        tmp_path / 'new/a', 'det', 23, 5, 64, seed=3, workers=2
    )
    assert root == tmp_path / 'new/a'
    assert files(root) == files(scenes / 'det')
    assert os.listdir(root.parent) == ['a']


def test_seed_matters(scenes: Path, tmp_path: Path) -> None:
    other = files(write_scenes(tmp_path / 'a', 'seg', 3, 3, 64, seed=4))
    first = files(scenes / 'seg')
    for name, content in other.items():
        assert content != first[name]


def test_existing_data_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_scenes(tmp_path / 'a', 'cls', 2, 1, 32)
    before = files(root)

    def fail(*args: Any) -> None:
        raise AssertionError('drawn again')

    monkeypatch.setattr(ClassificationWriter, 'write', fail)
    write_scenes(tmp_path / 'a', 'cls', 2, 1, 32)
    assert files(root) == before


def test_other_settings_are_refused(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / 'a', 'cls', 2, 1, 32)
    with pytest.raises(ConfigError, match='choose another') as info:
        write_scenes(root, 'cls', 4, 1, 32, seed=7)
    for text in (
        str(root),
        'num_train is 2 there, 4 asked for',
        'seed is 0 there, 7 asked for',
    ):
        assert text in str(info.value)
    assert 'num_val' not in str(info.value)


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'thesis.txt').write_text('important')
    with pytest.raises(ConfigError, match='holds no data set of scenes'):
        write_scenes(tmp_path, 'cls', 2, 1, 32)
    assert os.listdir(tmp_path) == ['thesis.txt']


def test_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / 'a').mkdir()
    write_scenes(tmp_path / 'a', 'cls', 2, 1, 32)
    assert (tmp_path / 'a/train/circle/000001.png').is_file()


def test_broken_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ClassificationWriter.write

    def fail_late(self: ClassificationWriter, split: str, index: int) -> None:
        if split == 'val':
            raise KeyboardInterrupt
        write(self, split, index)

    monkeypatch.setattr(ClassificationWriter, 'write', fail_late)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / 'a', 'cls', 2, 1, 32)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(task='pose'), '`task` must be one of cls, shapes, det, seg'),
        (dict(num_train=0), '`num_train` must be at least 1'),
        (dict(num_val=-1), '`num_val` must be at least 1'),
        (dict(workers=0), '`workers` must be at least 1'),
        (dict(image_size=8), '`image_size`'),
    ],
)
def test_bad_options(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_scenes(tmp_path / 'a', **options)
    assert not (tmp_path / 'a').exists()
