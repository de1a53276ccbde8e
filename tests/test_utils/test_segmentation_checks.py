from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.utils import register_all_modules
from PIL import Image

from mmhgkd.utils import ConfigError
from mmhgkd.utils.segmentation_checks import check_segmentation

register_all_modules(init_default_scope=False)
SECTIONS = ('train_dataloader', 'val_dataloader')


def write(path: Path, labels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(labels, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index in range(3):
        name = f'{index}.png'
        write(tmp_path / 'images' / name, np.zeros((4, 4, 3)))
        # Ignored, the first and the last of three classes.
        write(tmp_path / 'masks' / name, [[0, 1], [3, 3]])
    return tmp_path


def config(root: Path, num_classes: int = 3, **options: Any) -> Config:
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        metainfo=dict(classes=('a', 'b', 'c')),
        reduce_zero_label=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )
    dataset.update(options)
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(
                decode_head=[dict(num_classes=num_classes)],
                auxiliary_head=dict(num_classes=num_classes),
            ),
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', dataset=dataset)
            ),
        )
    )


def test_masks_that_fit(root: Path) -> None:
    write(root / 'masks' / '1.png', [[255, 1], [2, 3]])
    check_segmentation(config(root), SECTIONS)


@pytest.mark.parametrize(
    ('value', 'reduce', 'read'),
    [
        (4, True, 3),
        (3, False, 3),
        (254, True, 253),
    ],
)
def test_label_without_class(
    root: Path, value: int, reduce: bool, read: int
) -> None:
    for index in range(3):
        write(root / 'masks' / f'{index}.png', [[0, 1], [1, 1]])
    write(root / 'masks' / '2.png', [[0, value], [1, 1]])
    with pytest.raises(ConfigError) as error:
        check_segmentation(config(root, reduce_zero_label=reduce), SECTIONS)
    message = str(error.value)
    assert message.startswith(
        f'the mask {root}/masks/2.png of `train_dataloader.dataset.dataset` '
        f'has the label {read} as read with `reduce_zero_label={reduce}`, '
        'but the model has the classes 0 to 2, and 255 is ignored'
    )


def test_many_labels_are_cut(root: Path) -> None:
    write(root / 'masks' / '0.png', [range(20), range(20)])
    with pytest.raises(ConfigError, match=r'the labels 3, 4, 5, 6, 7, \.\.\.'):
        check_segmentation(config(root), SECTIONS)


def test_own_ignore_index(root: Path) -> None:
    write(root / 'masks' / '0.png', [[1, 201], [1, 1]])
    with pytest.raises(ConfigError, match='the label 200'):
        check_segmentation(config(root), SECTIONS)
    for index in range(3):
        write(root / 'masks' / f'{index}.png', [[1, 201], [1, 1]])
    check_segmentation(config(root, ignore_index=200), SECTIONS)


def test_missing_and_broken_masks(root: Path) -> None:
    mask = root / 'masks' / '1.png'
    mask.write_bytes(mask.read_bytes()[:20])
    with pytest.raises(ConfigError, match=f'cannot read the mask {mask} of'):
        check_segmentation(config(root), SECTIONS)
    mask.unlink()
    with pytest.raises(ConfigError, match=f'cannot read the mask {mask} of'):
        check_segmentation(config(root), SECTIONS)


def test_colored_mask(root: Path) -> None:
    write(root / 'masks' / '1.png', np.zeros((4, 5, 3)))
    with pytest.raises(ConfigError, match=r'has the shape \(4, 5, 3\); a '):
        check_segmentation(config(root), SECTIONS)


def test_number_of_classes(root: Path) -> None:
    with pytest.raises(ConfigError, match='has 3 classes, the model 19'):
        check_segmentation(config(root, num_classes=19), SECTIONS)


def test_no_images(root: Path) -> None:
    with pytest.raises(ConfigError, match=r'no image that ends with `\.jpg`'):
        check_segmentation(config(root, img_suffix='.jpg'), SECTIONS)


def test_classes_that_are_left_out_are_ignored(root: Path) -> None:
    """ADE20K with two of its classes: the others become the ignored label."""
    cfg = config(
        root,
        num_classes=2,
        type='ADE20KDataset',
        metainfo=dict(classes=('wall', 'sky')),
    )
    check_segmentation(cfg, SECTIONS)


def test_other_scopes_are_left_alone(root: Path) -> None:
    cfg = config(root, num_classes=19)
    cfg.default_scope = 'mmdet'
    check_segmentation(cfg, SECTIONS)
