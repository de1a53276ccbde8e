import copy
import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

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
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(rpn_head=dict(num_classes=1), roi_head=heads),
            train_dataloader=dict(dataset=dataset),
            val_dataloader=dict(dataset=copy.deepcopy(dataset)),
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
