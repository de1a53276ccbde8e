from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmhgkd.utils import ConfigError
from mmhgkd.utils.classification_checks import check_classification


def config(num_classes: int, **dataset: Any) -> Config:
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=num_classes)),
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', dataset=dataset)
            ),
        )
    )


def message(cfg: Config) -> str:
    with pytest.raises(ConfigError) as error:
        check_classification(cfg, ['train_dataloader'])
    return str(error.value)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in 'abc':
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    'kind',
    [
        dict(type='mmhgkd.ImageFolder', with_label=True),
        dict(type='CustomDataset'),
    ],
)
def test_folders(
    folders: Path, kind: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        'mmhgkd.utils.classification_checks.say_once',
        lambda text, level: said.append(text),
    )
    options = dict(kind, data_root=str(folders))
    assert message(config(2, **options)) == (
        '`train_dataloader.dataset.dataset` has 3 classes, but '
        '`model.head.num_classes` is 2: set `model.head.num_classes=3`'
    )
    check_classification(config(3, **options), ['train_dataloader'])
    assert not said
    check_classification(config(5, **options), ['train_dataloader'])
    assert 'has 3 classes, 2 of the outputs of' in said[0]


@pytest.mark.parametrize('label', [3, -1])
def test_lists(folders: Path, label: int) -> None:
    (folders / 'list.txt').write_text(f'a.png 0\nb.png {label}\n')
    options = dict(
        type='CustomDataset', data_root=str(folders), ann_file='list.txt'
    )
    text = message(config(3, **options))
    assert text.startswith('1 of 2 labels in `')
    assert f'do not lie in 0 to 2, such as {label} of {folders}/b' in text
    check_classification(
        config(4, **options) if label > 0 else config(4), ['train_dataloader']
    )


def test_list_without_labels(folders: Path) -> None:
    (folders / 'list.txt').write_text('a.png\nb.png zero\n')
    options = dict(
        type='CustomDataset', data_root=str(folders), ann_file='list.txt'
    )
    assert 'each line is a file and a whole number' in message(
        config(3, **options)
    )


def test_names_of_the_data_set() -> None:
    text = message(config(10, type='CIFAR100', data_root='none'))
    assert 'has 100 classes' in text


def test_what_is_not_checked(folders: Path) -> None:
    cfg = config(2, type='mmhgkd.ImageFolder', data_root=str(folders))
    check_classification(cfg, ['train_dataloader'])
    cfg = config(2, type='CustomDataset', data_root=str(folders))
    cfg.default_scope = 'mmdet'
    check_classification(cfg, ['train_dataloader'])
