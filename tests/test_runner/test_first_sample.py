import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from mmengine.registry import DATASETS, DefaultScope
from picture_bomb import write_bomb
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmhgkd.runner.first_sample import check_first_sample
from mmhgkd.utils import ConfigError


class Data(Dataset):
    """Draws random numbers, then raises what it is told to."""

    def __init__(self, error: Exception | None, length: int = 2) -> None:
        self.error = error
        self.length = length
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        self.asked.append(index)
        random.random()
        np.random.rand()
        torch.rand(1)
        if self.error is not None:
            raise self.error
        return index


def draw() -> tuple[float, float, float]:
    return random.random(), np.random.rand(), float(torch.rand(1))


@pytest.mark.parametrize('error', [None, ValueError('of a transform')])
def test_random_states_stay(error: Exception | None) -> None:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = draw()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    data = Data(error)
    if error is None:
        check_first_sample(DataLoader(data), 'val_dataloader')
    else:
        refusal = r'`val_dataloader\.dataset\.pipeline` fails .* of a transf'
        with pytest.raises(ConfigError, match=refusal):
            check_first_sample(DataLoader(data), 'val_dataloader')
    assert data.asked == [0]
    assert draw() == expected


@pytest.mark.parametrize(
    'error',
    [
        OSError('of the disk'),
        ConfigError('an image that cannot be taken'),
        Exception('Cannot find valid image after 1000!'),
    ],
)
def test_unreadable_images_are_left_to_others(error: Exception) -> None:
    data = Data(error)
    check_first_sample(DataLoader(data), 'val_dataloader')
    assert data.asked == [0]


def test_nothing_to_look_at() -> None:
    data = Data(ValueError(), length=0)
    check_first_sample(DataLoader(data), 'val_dataloader')
    assert not data.asked


def stock_data(root: Path, kind: str = 'CustomDataset', **load: Any) -> Any:
    """Classification with the loader of MMCV, within another data set."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(
            dict(
                type='RepeatDataset',
                times=2,
                dataset=dict(
                    type=kind,
                    data_root=str(root),
                    pipeline=[dict(type='LoadImageFromFile', **load)],
                ),
            )
        )


def write(path: Path, kind: str) -> None:
    if kind == 'deep':
        Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(path)
    elif kind == 'bands':
        tifffile.imwrite(
            path,
            np.zeros((4, 4, 5), np.uint8),
            photometric='minisblack',
            planarconfig='contig',
        )
    elif kind == 'alpha':
        Image.new('RGBA', (4, 4)).save(path)
    elif kind == 'palette':
        image = Image.new('P', (4, 4))
        image.save(path, transparency=0)
    elif kind == 'bomb':
        write_bomb(path)
    else:
        Image.new('RGB', (4, 4)).save(path)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(
        'mmhgkd.utils.image_sample.say_once',
        lambda text, *_: lines.append(text),
    )
    return lines


@pytest.mark.parametrize('data', ['CustomDataset', 'mmhgkd.ImageFolder'])
@pytest.mark.parametrize(
    ('kind', 'text'),
    [
        ('deep', 'has 16 bits and 1 channels; set `type='),
        ('bands', 'has 8 bits and 5 channels; set `type='),
        ('bomb', '1 of 3 images of `train_dataloader.dataset` that were '),
        ('alpha', None),
        ('palette', None),
    ],
)
def test_stock_loader(
    tmp_path: Path, said: list[str], data: str, kind: str, text: str | None
) -> None:
    for index, name in enumerate(('plain', 'plain', kind)):
        (tmp_path / f'{index}').mkdir()
        suffix = '.tif' if name == 'bands' else '.png'
        write(tmp_path / f'{index}' / f'a{suffix}', name)
    loader = DataLoader(stock_data(tmp_path, data))
    if text is None:
        check_first_sample(loader, 'train_dataloader')
        (line,) = said
        assert line.startswith('1 of 3 images of `train_dataloader.dataset`')
        assert 'hidden colors are used' in line
        return
    with pytest.raises(ConfigError) as error:
        check_first_sample(loader, 'train_dataloader')
    assert text in str(error.value)
    assert str(tmp_path / '2' / 'a') in str(error.value)


def test_stock_loader_that_is_told_so(tmp_path: Path) -> None:
    write(tmp_path / 'a.png', 'deep')
    data = stock_data(tmp_path, 'mmhgkd.ImageFolder', color_type='unchanged')
    check_first_sample(DataLoader(data), 'train_dataloader')


def test_missing_image_of_a_list(tmp_path: Path) -> None:
    write(tmp_path / 'a.png', 'plain')
    (tmp_path / 'list.txt').write_text('a.png 0\nb.png 1\n')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = DATASETS.build(
            dict(
                type='CustomDataset',
                data_root=str(tmp_path),
                ann_file='list.txt',
                pipeline=[dict(type='LoadImageFromFile')],
            )
        )
    with pytest.raises(ConfigError, match=r'b\.png of `val_.* does not exi'):
        check_first_sample(DataLoader(data), 'val_dataloader')
