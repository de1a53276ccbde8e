import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from torch.utils.data import ConcatDataset

from mmhgkd.datasets import ImageFolder
from mmhgkd.hooks import UnreadableImagesHook
from mmhgkd.utils import ConfigError, RunError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(10):
        cv2.imwrite(str(folder / f'{index}.png'), np.zeros((8, 8, 3)))
    for index in (2, 5):
        (folder / f'{index}.png').write_bytes(b'broken')
    return folder


class Loader(list):
    dataset: Any


def runner(dataset: Any, work_dir: Path) -> SimpleNamespace:
    calls: list[str] = []
    dataloader = Loader(range(5))
    dataloader.dataset = dataset
    return SimpleNamespace(
        train_dataloader=dataloader,
        work_dir=str(work_dir),
        rank=0,
        iter=0,
        logger=SimpleNamespace(warning=lambda text: None),
        calls=calls,
        call_hook=lambda name, **kwargs: calls.append(name),
    )


def prepared(
    folder: Path, work_dir: Path, wrap: bool = False, **options: Any
) -> tuple[UnreadableImagesHook, Any, Any]:
    dataset: Any = ImageFolder(
        str(folder), pipeline=[dict(type='mmhgkd.LoadImage')]
    )
    # It draws the replacement, which can be the other broken image.
    dataset._rand_another = lambda: 0
    if wrap:
        dataset = ConcatDataset([dataset])
    run = runner(dataset, work_dir)
    hook = UnreadableImagesHook(interval=1, **options)
    hook.before_train(run)
    return hook, run, dataset


@pytest.mark.parametrize('wrap', [False, True])
def test_lists_and_replaces(folder: Path, tmp_path: Path, wrap: bool) -> None:
    hook, run, dataset = prepared(folder, tmp_path, wrap, max_share=0.2)
    for _ in range(2):
        paths = [dataset[index]['img_path'] for index in range(10)]
    assert paths[3] == str(folder / '3.png')
    assert not {str(folder / '2.png'), str(folder / '5.png')} & set(paths)
    listed = (tmp_path / 'unreadable_images.txt').read_text().splitlines()
    assert sorted(listed) == [str(folder / f'{i}.png') for i in (2, 5)]
    hook.after_train_iter(run, 0)
    assert run.calls == []


def test_names_that_are_no_text(folder: Path, tmp_path: Path) -> None:
    names = [b'\xff\xfe.png', b'a\nb.png']
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(b'broken')
    for index in (2, 5):
        (folder / f'{index}.png').unlink()
    hook, run, dataset = prepared(folder, tmp_path, max_count=2)
    for _ in range(2):
        [dataset[index] for index in range(10)]
    listed = (tmp_path / 'unreadable_images.txt').read_bytes().splitlines()
    root = os.fsencode(folder)
    assert sorted(listed) == [root + rb'/a\nb.png', root + b'/\xff\xfe.png']
    hook.after_train_iter(run, 0)
    hook.max_count = 1
    hook._size = 0
    with pytest.raises(RunError, match='2 of 10 images are unreadable'):
        hook.after_train_iter(run, 1)


@pytest.mark.parametrize(
    'options',
    [
        dict(max_share=0.1),
        dict(max_share=1.0, max_count=1),
    ],
)
def test_too_many_stop_the_run(
    folder: Path, tmp_path: Path, options: dict
) -> None:
    hook, run, dataset = prepared(folder, tmp_path, **options)
    [dataset[index] for index in range(4)]
    hook.after_train_iter(run, 0)  # one of ten is allowed
    [dataset[index] for index in range(10)]
    with pytest.raises(RunError, match='2 of 10 images are unreadable'):
        hook.after_train_iter(run, 1)
    assert run.calls == ['save_now']


def test_lost_folder_is_no_unreadable_image(
    folder: Path, tmp_path: Path
) -> None:
    _, _, dataset = prepared(folder, tmp_path)
    folder.rename(tmp_path / 'elsewhere')
    with pytest.raises(ConfigError, match=r'images of the image .* does not'):
        dataset[0]


@pytest.mark.parametrize(
    'options',
    [
        dict(max_share=1.1),
        dict(max_share=-0.1),
        dict(max_count=-1),
    ],
)
def test_options_out_of_range(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        UnreadableImagesHook(**options)
