import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from picture_bomb import write_bomb
from PIL import Image

from mmhgkd.utils import ConfigError, preflight

SECTIONS = ('train_dataloader', 'val_dataloader')
CONTENT = dict(
    images=[],
    annotations=[],
    categories=[
        dict(id=3, name='cat'),
        dict(id=5, name='dog'),
        dict(id=9, name='cow'),
    ],
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / 'train2017').mkdir()
    write(tmp_path, CONTENT)
    return tmp_path


def write(root: Path, content: Any) -> None:
    (root / 'a.json').write_text(json.dumps(content))


def config(root: Path, classes: tuple[str, ...] = ('cat', 'dog')) -> Config:
    dataset = dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file='a.json',
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=classes),
    )
    heads = dict(
        bbox_head=dict(num_classes=len(classes)),
        mask_head=[dict(num_classes=len(classes))],
    )
    sampler = dict(type='DefaultSampler', shuffle=False)
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='MaskRCNN', rpn_head=dict(num_classes=1), roi_head=heads
            ),
            train_dataloader=dict(dataset=dataset, sampler=sampler),
            val_dataloader=dict(
                dataset=copy.deepcopy(dataset), sampler=sampler
            ),
            val_cfg=dict(),
            val_evaluator=[
                dict(type='CocoMetric', ann_file=str(root / 'a.json'))
            ],
        )
    )


def message(cfg: Config) -> str:
    with pytest.raises(ConfigError) as error:
        preflight.check_config(cfg, SECTIONS)
    return str(error.value)


def test_a_subset_of_the_categories_is_fine(root: Path) -> None:
    preflight.check_config(config(root), SECTIONS)


def test_missing_classes(root: Path) -> None:
    """Also what the file has, and both options that mend it."""
    text = message(config(root, ('cat', 'horse', 'cow')))
    assert text == (
        f'the annotation file `{root}/a.json` lacks 1 of the 3 classes of '
        "`train_dataloader.dataset`, 'horse'; it has 'cat', 'dog', 'cow'; set "
        '`train_dataloader.dataset.metainfo.classes` to the categories of the '
        'file, and `num_classes` of the heads to their number'
    )


def test_classes_of_the_dataset_type_count_if_none_are_given(
    root: Path,
) -> None:
    cfg = config(root)
    del cfg.train_dataloader.dataset['metainfo']
    assert 'lacks 77 of the 80 classes' in message(cfg)


def test_order_of_the_classes(root: Path) -> None:
    text = message(config(root, ('dog', 'cat')))
    assert "in another order, 'cat', 'dog' instead of 'dog', 'cat'" in text


def test_classes_of_the_evaluator(root: Path) -> None:
    cfg = config(root)
    other = dict(CONTENT, categories=[dict(id=1, name='cat')])
    (root / 'b.json').write_text(json.dumps(other))
    cfg.val_evaluator[0].ann_file = str(root / 'b.json')
    assert f'`{root}/b.json` lacks 1 of the 2 classes' in message(cfg)


@pytest.mark.parametrize('head', ['bbox_head', 'mask_head'])
def test_size_of_the_heads(root: Path, head: str) -> None:
    cfg = config(root)
    node = cfg.model.roi_head[head]
    (node[0] if head == 'mask_head' else node).num_classes = 80
    index = '.0' if head == 'mask_head' else ''
    option = f'model.roi_head.{head}{index}.num_classes'
    assert message(cfg) == (
        f'`{option}` is 80, but `train_dataloader.dataset` has 2 classes; '
        f'add `--cfg-options {option}=2`'
    )


def test_missing_annotation_file(root: Path) -> None:
    cfg = config(root)
    cfg.train_dataloader.dataset.ann_file = 'none.json'
    assert message(cfg) == (
        f'cannot read the annotation file `{root}/none.json` of '
        '`train_dataloader.dataset.ann_file` (No such file or directory); '
        'add `--cfg-options train_dataloader.dataset.ann_file=FILE`'
    )


def test_missing_annotation_file_of_the_evaluator(root: Path) -> None:
    cfg = config(root)
    cfg.val_evaluator[0].ann_file = 'none.json'
    assert '--cfg-options val_evaluator.0.ann_file=FILE' in message(cfg)


def test_truncated_annotation_file(root: Path) -> None:
    path = root / 'a.json'
    path.write_text(path.read_text()[:-20])
    text = message(config(root))
    assert text.startswith(
        f'the annotation file `{path}` of '
        '`train_dataloader.dataset.ann_file` is broken or '
        'cut off ('
    )


@pytest.mark.parametrize('content', [[], dict(images=[], annotations=[])])
def test_other_json(root: Path, content: Any) -> None:
    write(root, content)
    assert 'must have the form of MS COCO' in message(config(root))


def test_missing_image_folder(root: Path) -> None:
    (root / 'train2017').rmdir()
    assert message(config(root)) == (
        f'the image folder `{root}/train2017/` of `train_dataloader.dataset` '
        'does not exist; add `--cfg-options '
        'train_dataloader.dataset.data_prefix.img=FOLDER`'
    )


def test_what_is_not_checked(root: Path) -> None:
    """Sections that are not used, other kinds of data, remote files."""
    cfg = config(root)
    cfg.val_dataloader.dataset.ann_file = 'none.json'
    preflight.check_config(cfg, ['train_dataloader'])
    cfg.val_dataloader.dataset.type = 'LVISV1Dataset'
    preflight.check_config(cfg, SECTIONS)
    cfg.val_dataloader.dataset.update(
        type='CocoDataset', ann_file='s3://bucket/a.json'
    )
    preflight.check_config(cfg, SECTIONS)


def annotated(root: Path) -> dict[str, Any]:
    """Two images of 40 x 30 px with two boxes each; nothing is wrong."""
    content = copy.deepcopy(CONTENT)
    for number in (1, 2):
        name = f'{number}.png'
        Image.new('RGB', (40, 30)).save(root / 'train2017' / name)
        content['images'].append(
            dict(id=number, file_name=name, height=30, width=40)
        )
        for offset, category in ((0, 3), (10, 5)):
            content['annotations'].append(
                dict(
                    id=number + offset,
                    image_id=number,
                    category_id=category,
                    bbox=[offset, offset, 10, 10],
                    area=100,
                    segmentation=[[0, 0, 9, 0, 9, 9]],
                )
            )
    return content


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    def say_once(text: str, names: Any = (), level: int = 0) -> None:
        if f'{text}: {", ".join(names)}' not in lines:
            lines.append(f'{text}: {", ".join(names)}')

    for module in ('coco_files', 'image_sample', 'labeled_images'):
        monkeypatch.setattr(f'mmhgkd.utils.{module}.say_once', say_once)
    return lines


def with_masks(root: Path, **loader: Any) -> Config:
    cfg = config(root)
    for section in SECTIONS:
        cfg[section].dataset.pipeline = [
            dict(type='LoadImageFromFile', **loader),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        ]
        cfg[section].dataset.filter_cfg = dict(
            filter_empty_gt=True, min_size=4
        )
    return cfg


def test_nothing_wrong(root: Path, said: list[str]) -> None:
    write(root, annotated(root))
    preflight.check_config(with_masks(root), SECTIONS)
    assert not said


@pytest.mark.parametrize(
    ('section', 'key', 'text'),
    [
        ('annotations', 'area', 'width times height'),
        ('annotations', 'bbox', 'add it'),
        ('annotations', 'id', 'add it'),
        ('annotations', 'image_id', 'add it'),
        ('annotations', 'category_id', 'add it'),
        ('images', 'height', 'the height of the image'),
        ('images', 'width', 'the width of the image'),
        ('images', 'file_name', 'add it'),
        ('images', 'id', 'add it'),
        ('categories', 'name', 'add it'),
        ('categories', 'id', 'add it'),
    ],
)
def test_missing_key(root: Path, section: str, key: str, text: str) -> None:
    content = annotated(root)
    del content[section][1][key]
    write(root, content)
    count = len(content[section])
    found = message(config(root))
    assert found.startswith(f'1 of {count} {section} of the annotation file `')
    assert f'have no `{key}` (the first is number 1); add it' in found
    assert text in found


def test_missing_segmentation(root: Path) -> None:
    content = annotated(root)
    del content['annotations'][2]['segmentation']
    write(root, content)
    preflight.check_config(config(root), SECTIONS)
    text = message(with_masks(root))
    assert text.startswith(f'1 of 4 annotations of `{root}/a.json` have no `s')
    assert 'the first has the id 2), but `train_dataloader.dataset`' in text


@pytest.mark.parametrize(
    ('section', 'key', 'value'),
    [
        ('images', 'id', '1'),
        ('annotations', 'image_id', '1'),
        ('annotations', 'category_id', '3'),
        ('categories', 'id', 3.5),
    ],
)
def test_ids_that_are_no_numbers(
    root: Path, section: str, key: str, value: Any
) -> None:
    content = annotated(root)
    content[section][0][key] = value
    write(root, content)
    text = message(config(root))
    assert f'must be a whole number, got {value!r}' in text
    assert text.startswith(f'`{key}` of 1 of ')


@pytest.mark.parametrize('section', ['images', 'annotations', 'categories'])
def test_ids_that_occur_twice(root: Path, section: str) -> None:
    content = annotated(root)
    content[section][1]['id'] = content[section][0]['id']
    write(root, content)
    text = message(config(root))
    assert text.startswith(f'1 ids of the {section} of the annotation file')


def test_names_that_occur_twice(root: Path) -> None:
    content = annotated(root)
    content['categories'][1]['name'] = 'cat'
    write(root, content)
    assert "more than once, such as 'cat'; give each" in message(config(root))


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('bbox', [1, 2, 3]),
        ('bbox', [1, 2, 3, None]),
        ('bbox', [1, 2, 3, float('nan')]),
        ('bbox', 'none'),
        ('area', '100'),
    ],
)
def test_boxes_that_are_none(root: Path, key: str, value: Any) -> None:
    content = annotated(root)
    content['annotations'][1][key] = value
    write(root, content)
    text = message(config(root))
    assert text.startswith('1 annotations of the annotation file')
    assert 'such as that of the id 11:' in text


def test_what_mmdet_leaves_out_is_counted(root: Path, said: list[str]) -> None:
    content = annotated(root)
    for number, (width, height) in ((3, (40, 30)), (4, (3, 30))):
        name = f'{number}.png'
        Image.new('RGB', (width, height)).save(root / 'train2017' / name)
        content['images'].append(
            dict(id=number, file_name=name, height=height, width=width)
        )
    good = dict(content['annotations'][0], image_id=4, bbox=[0, 0, 2, 2])
    bad = [
        dict(good, image_id=7),
        dict(good, category_id=7),
        dict(good, category_id=7),
        dict(good, category_id=9),
        dict(good, area=0),
        dict(good, bbox=[0, 0, 0.5, 9]),
        dict(good, bbox=[50, 0, 9, 9]),
        dict(good, ignore=1),
    ]
    for index, annotation in enumerate([good, *bad]):
        content['annotations'].append(dict(annotation, id=100 + index))
    write(root, content)
    cfg = with_masks(root)
    preflight.check_config(cfg, SECTIONS)
    (line,) = said
    assert line.startswith(
        f'{root}/a.json: 4 images, 13 annotations; 8 annotations left out '
        '(2 of unknown categories, 2 without an area, 1 of other categories, '
        '1 of unknown images, 1 outside of their image, 1 to be ignored); 2 '
        'images left out (1 too small, 1 without annotations): annotation '
    )
    # MMDetection itself keeps as many.
    with DATASETS.switch_scope_and_registry('mmdet') as registry:
        dataset = registry.build(
            dict(cfg.train_dataloader.dataset, pipeline=[])
        )
    kept = [len(dataset.get_data_info(i)['instances']) for i in range(2)]
    assert len(dataset) == 2
    assert sum(kept) == 13 - 8 - 1


def test_no_annotation_is_left(root: Path) -> None:
    content = annotated(root)
    for annotation in content['annotations']:
        annotation['area'] = 0
    write(root, content)
    assert '4 annotations, all of which are left out (4 wi' in message(
        config(root)
    )


def test_file_that_is_listed_twice(root: Path, said: list[str]) -> None:
    content = annotated(root)
    content['images'][1]['file_name'] = '1.png'
    write(root, content)
    preflight.check_config(config(root), SECTIONS)
    assert '; 1 files are listed twice: 1.png' in said[0]


def test_missing_image(root: Path) -> None:
    write(root, annotated(root))
    (root / 'train2017' / '2.png').unlink()
    assert f'the image {root}/train2017/2.png of `train_data' in message(
        with_masks(root)
    )


def test_annotations_of_images_that_are_turned(root: Path) -> None:
    write(root, annotated(root))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 30)).save(root / 'train2017' / '2.png', exif=exif)
    text = message(with_masks(root))
    assert 'has 30 x 40 pixels as loaded, but `' in text
    assert "`color_type='color_ignore_orientation'` of LoadImageFro" in text
    cfg = with_masks(root, color_type='color_ignore_orientation')
    preflight.check_config(cfg, SECTIONS)


def test_image_that_uses_up_the_memory(root: Path) -> None:
    write(root, annotated(root))
    write_bomb(root / 'train2017' / '2.png')
    text = message(with_masks(root))
    assert text.startswith('1 of 2 images of `train_dataloader.dataset` that')
    assert 'more than 178 megapixels' in text
    assert f'such as {root}/train2017/2.png' in text


def test_pipe_as_annotation_file(root: Path) -> None:
    (root / 'a.json').unlink()
    os.mkfifo(root / 'a.json')
    assert '(no plain file); add `--cfg' in message(config(root))
