from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.utils import register_all_modules
from picture_bomb import write_bomb
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
        write(tmp_path / 'images' / name, np.zeros((2, 2, 3)))
        # Ignored, the first and the last of three classes.
        write(tmp_path / 'masks' / name, [[0, 1], [3, 3]])
    return tmp_path


def config(
    root: Path,
    num_classes: int = 3,
    reader: Any = 'LoadAnnotations',
    **options: Any,
) -> Config:
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        metainfo=dict(classes=('a', 'b', 'c')),
        reduce_zero_label=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type=reader),
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


@pytest.mark.parametrize('reader', ['mmseg.LoadAnnotations', LoadAnnotations])
def test_reader_of_any_spelling(root: Path, reader: Any) -> None:
    write(root / 'masks' / '0.png', [[77, 77], [1, 1]])
    with pytest.raises(ConfigError, match='has the label 76'):
        check_segmentation(config(root, reader=reader), SECTIONS)


def test_many_labels_are_cut(root: Path) -> None:
    write(root / 'masks' / '0.png', [range(20), range(20)])
    with pytest.raises(ConfigError, match=r'the labels 3, 4, 5, 6, 7, \.\.\.'):
        check_segmentation(config(root), SECTIONS)


def test_own_ignore_index(root: Path) -> None:
    write(root / 'masks' / '0.png', [[1, 201], [1, 1]])
    with pytest.raises(ConfigError, match='the label 200'):
        check_segmentation(config(root), SECTIONS)
    for index in range(3):
        write(root / 'masks' / f'{index}.png', [[1, 201], [2, 1]])
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


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines that are said once, with the names that they count."""
    lines: list[str] = []

    def say_once(text: str, names: Any = (), level: int = 0) -> None:
        lines.append(f'{text}: {", ".join(map(str, names))}')

    for module in ('segmentation_checks', 'image_sample', 'labeled_images'):
        monkeypatch.setattr(f'mmhgkd.utils.{module}.say_once', say_once)
    return lines


def message(cfg: Config) -> str:
    with pytest.raises(ConfigError) as error:
        check_segmentation(cfg, SECTIONS)
    assert '\n' not in str(error.value)
    return str(error.value)


def write_masks(root: Path, labels: Any) -> None:
    for index in range(3):
        write(root / 'masks' / f'{index}.png', labels)


def test_black_and_white_masks(root: Path) -> None:
    """255 is ignored, with `reduce_zero_label` 0 as well: none is left."""
    write_masks(root, [[0, 255], [255, 0]])
    text = message(config(root))
    assert text.startswith('no class is left in the 3 masks of `train_data')
    assert 'masks of 0 and 255 need the labels 0 and 1' in text
    text = message(config(root, reduce_zero_label=False))
    assert 'have one class only, 0, as read with `reduce_zero_label=F' in text


def test_masks_and_classes_that_are_empty(root: Path, said: list[str]) -> None:
    write(root / 'masks' / '1.png', [[0, 0], [255, 0]])
    check_segmentation(config(root), SECTIONS)
    first, second = said
    assert first.startswith('1 of the 3 masks of `train_dataloader.dataset.d')
    assert 'have no class left' in first
    assert first.endswith(f': {root}/masks/1.png')
    assert second.startswith('1 of 3 classes have no pixel in the 3 masks')
    assert second.endswith(': b')


@pytest.mark.parametrize('kind', [np.uint16, np.int32, np.float32])
def test_deep_masks(root: Path, kind: Any) -> None:
    """257 would wrap to 1 before anything can look at it."""
    suffix = '.png' if kind is np.uint16 else '.tif'
    labels = np.array([[0, 1], [2, 3]], kind)
    for index in range(3):
        file = root / 'masks' / f'{index}{suffix}'
        Image.fromarray(labels).save(file)
    cfg = config(root, seg_map_suffix=suffix)
    check_segmentation(cfg, SECTIONS)
    labels[0, 0] = 257
    Image.fromarray(labels).save(root / 'masks' / f'2{suffix}')
    text = message(cfg)
    assert text.startswith(f'the mask {root}/masks/2{suffix} of `train_data')
    assert 'has the value 257, which would be read as 1:' in text


def test_fractional_masks(root: Path) -> None:
    labels = np.array([[0, 1], [2.5, 3]], np.float32)
    for index in range(3):
        Image.fromarray(labels).save(root / 'masks' / f'{index}.tif')
    text = message(config(root, seg_map_suffix='.tif'))
    assert 'has the value 2.5, which would be read as 2:' in text


def test_mask_of_another_size(root: Path) -> None:
    write(root / 'masks' / '1.png', [[1, 1, 2], [1, 2, 3]])
    assert message(config(root)) == (
        f'the image {root}/images/1.png of `train_dataloader.dataset.dataset` '
        f'has 2 x 2 pixels as loaded, but its mask {root}/masks/1.png 3 x 2 '
        '(1 of 3 images that were looked at are so): they must be equal'
    )


def test_missing_image(root: Path) -> None:
    (root / 'images' / 'list.txt').write_text('0\n1\n9\n')
    write(root / 'masks' / '9.png', [[1, 2], [3, 1]])
    cfg = config(root, ann_file='images/list.txt')
    assert f'the image {root}/images/9.png of `train_' in message(cfg)


def save_turned(
    root: Path, orientations: list[int], size: tuple[int, int], suffix: str
) -> None:
    for index, orientation in enumerate(orientations):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = root / 'images' / f'{index}{suffix}'
        Image.new('RGB', size, 'red').save(path, exif=exif)


def option(cfg: Config, **changes: Any) -> Config:
    step = cfg.train_dataloader.dataset.dataset.pipeline[0]
    step.update(changes)
    return cfg


LABELS = np.array([[1, 2, 3], [1, 1, 1]])


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp'])
@pytest.mark.parametrize('kind', ['LoadImageFromFile', 'mmhgkd.LoadImage'])
def test_images_turn_and_masks_do_not(
    root: Path, suffix: str, kind: str, said: list[str]
) -> None:
    for file in (root / 'images').iterdir():
        file.unlink()
    save_turned(root, [1, 6, 8], (3, 2), suffix)
    write_masks(root, LABELS)
    cfg = option(config(root, img_suffix=suffix), type=kind)
    if suffix == '.webp' and kind == 'LoadImageFromFile':
        # OpenCV does not turn these.
        check_segmentation(cfg, SECTIONS)
        return
    text = message(cfg)
    name = kind.split('.')[-1]
    assert f'{root}/images/1{suffix} of `train' in text
    assert 'has 2 x 3 pixels as loaded, but its mask' in text
    assert '(2 of 3 images that were' in text
    assert f"`color_type='color_ignore_orientation'` of {name} in" in text
    option(cfg, color_type='color_ignore_orientation')
    check_segmentation(cfg, SECTIONS)
    assert not said


@pytest.mark.parametrize('suffix', ['.png', '.webp'])
def test_masks_of_turned_images(
    root: Path, suffix: str, said: list[str]
) -> None:
    """Whoever drew on the image as a viewer shows it."""
    for file in (root / 'images').iterdir():
        file.unlink()
    save_turned(root, [5, 6, 8], (2, 3), suffix)
    write_masks(root, LABELS)
    cfg = config(root, img_suffix=suffix)
    if suffix == '.png':
        check_segmentation(cfg, SECTIONS)
        option(cfg, color_type='color_ignore_orientation')
    assert "set `type='mmhgkd.LoadImage'` with `color_type='c" in message(cfg)
    option(cfg, type='mmhgkd.LoadImage', color_type='color')
    check_segmentation(cfg, SECTIONS)
    assert not said


def test_both_kinds_of_masks(root: Path) -> None:
    save_turned(root, [1, 6], (3, 2), '.png')
    save_turned(root, [6], (2, 3), '.jpg')
    (root / 'images' / '0.jpg').rename(root / 'images' / '2.png')
    write_masks(root, LABELS)
    assert 'store such images upright' in message(config(root))


def test_orientation_that_keeps_the_size(root: Path, said: list[str]) -> None:
    save_turned(root, [1, 3, 2], (3, 2), '.png')
    write_masks(root, LABELS)
    check_segmentation(config(root), SECTIONS)
    (line,) = said
    assert line.startswith('2 of 3 images of `train_dataloader.dataset.datas')
    assert 'whether their labels were made on turned images' in line
    assert line.endswith(f': {root}/images/1.png, {root}/images/2.png')


def test_kinds_that_the_stock_loader_cannot_take(
    root: Path, said: list[str]
) -> None:
    path = root / 'images' / '1.png'
    Image.new('RGBA', (2, 2)).save(path)
    check_segmentation(config(root), SECTIONS)
    assert said[-1].startswith('1 of 3 images of `train_dataloader.dataset.')
    assert 'hidden colors are used' in said[-1]
    Image.fromarray(np.full((2, 2), 9, np.uint16)).save(path)
    text = message(config(root))
    assert f'the image {path} of `train' in text
    assert 'has 16 bits and 1 channels; set `type=' in text
    cfg = option(config(root), type='mmhgkd.LoadImage')
    assert 'with values from 9 to 9; set `value_range`' in message(cfg)
    check_segmentation(option(cfg, value_range=(0, 9)), SECTIONS)


def test_image_that_uses_up_the_memory(root: Path) -> None:
    write_bomb(root / 'images' / '1.png')
    text = message(config(root))
    assert text.startswith('1 of 3 images of `train_dataloader.dataset.datas')
    assert f'such as {root}/images/1.png' in text


def test_images_with_another_suffix(root: Path, said: list[str]) -> None:
    for name in ('3.PNG', '4.jpeg', '5.jpeg', '6'):
        (root / 'images' / name).write_bytes(b'')
    write_masks(root, [[1, 2], [3, 1]])
    check_segmentation(config(root), SECTIONS)
    (line,) = said
    assert line.startswith(
        f'3 images in {root}/images end with `img_suffix=.png`; 4 files left '
        'out (2 .jpeg, 1 .PNG, 1 without extension): '
    )
