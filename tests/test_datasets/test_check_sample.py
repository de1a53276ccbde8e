from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmhgkd.datasets import ImageFolder
from mmhgkd.utils import ConfigError


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(
        'mmhgkd.datasets.check_sample.say_once',
        lambda text, names=(): lines.append(text),
    )
    return lines


def save(folder: Path, highest: int, name: str) -> None:
    pixels = np.zeros((8, 8), np.uint16)
    pixels[0, 0] = highest
    Image.fromarray(pixels).save(folder / name)


def build(folder: Path, **options: Any) -> ImageFolder:
    step = dict(type='mmhgkd.LoadImage', **options)
    return ImageFolder(str(folder), pipeline=[step])


@pytest.mark.parametrize(
    ('highest', 'suggested'), [(700, 1023), (4000, 4095), (16000, 16383)]
)
def test_range_is_suggested(
    tmp_path: Path, highest: int, suggested: int, said: list[str]
) -> None:
    save(tmp_path, highest // 2, 'a.png')
    save(tmp_path, highest, 'b.png')
    Image.new('RGB', (8, 8)).save(tmp_path / 'c.jpg')
    with pytest.raises(ConfigError) as error:
        build(tmp_path)
    text = str(error.value)
    assert text.startswith(f'2 of 3 images in {tmp_path}')
    assert f'have 16 bits, but their values end at {highest}: ' in text
    assert f'set `value_range` of LoadImage to (0, {suggested}), or' in text
    image = build(tmp_path, value_range=(0, highest))[1]['img']
    assert image.max() == 255
    assert said[0].endswith('that were looked at: 2 of 16 bits and 1 channels')


def test_what_is_looked_at_is_said(tmp_path: Path, said: list[str]) -> None:
    save(tmp_path, 65535, 'a.png')
    Image.new('RGBA', (8, 8)).save(tmp_path / 'b.png')
    Image.new('RGB', (8, 8)).save(tmp_path / 'c.png')
    (tmp_path / 'd.png').write_bytes(b'broken')
    assert len(build(tmp_path)) == 4
    kinds, unreadable = said
    assert kinds.startswith(f'2 of 4 images in {tmp_path}')
    assert kinds.endswith(
        ': 1 of 16 bits and 1 channels, 1 of 8 bits and 4 channels with alpha'
    )
    assert unreadable.startswith('1 of 4 images in')
    assert unreadable.endswith('are unreadable')


def test_no_loader_no_look(tmp_path: Path) -> None:
    save(tmp_path, 9, 'a.png')
    assert len(ImageFolder(str(tmp_path))) == 1
