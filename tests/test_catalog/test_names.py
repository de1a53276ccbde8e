from pathlib import Path

import pytest

from mmhgkd.catalog import (
    config_folder,
    config_names,
    config_path,
    student_name,
    suggest,
)
from mmhgkd.catalog.configs import config_title
from mmhgkd.utils import ConfigError


def test_suggestions() -> None:
    assert suggest('resnt18', ['resnet18', 'x']) == '; did you mean resnet18?'
    assert suggest('dino', ['vit_dino', 'x']) == '; did you mean vit_dino?'
    assert suggest('zzz', ['resnet18']) == ''


def test_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = config_folder() / 'hgkd' / 'r50_mae.py'
    for name in (
        'hgkd/r50_mae',
        'hgkd/r50_mae.py',
        'configs/hgkd/r50_mae.py',
        expected,
    ):
        assert config_path(name) == expected
    own = tmp_path / 'own.py'
    own.touch()
    assert config_path('own.py') == Path('own.py')
    for name in ('hgkd/r51_mae', '_base_/default_runtime'):
        assert name not in config_names()
        with pytest.raises(ConfigError, match='there is no config'):
            config_path(name)
    with pytest.raises(ConfigError, match=r'mean .*hgkd/r50_mae'):
        config_path('hgkd/r51_mae')
    assert config_title('hgkd/r18_folder') == (
        'A small student on any folder of images'
    )


def test_students() -> None:
    assert student_name('ResNet-50') == 'resnet50'
    assert student_name('mobilenetv2') == 'mobilenet_v2'
    with pytest.raises(ConfigError, match='did you mean resnet50'):
        student_name('resnet51')
