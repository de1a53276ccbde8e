"""Where the operators come from, and what happens to the others."""

import importlib.util
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import mmcv
import pytest
import torch
from mmcv.ops import RoIPool, get_compiler_version

from mmhgkd.transfer import MissingOperatorError, install_operators
from mmhgkd.transfer.torchvision_ops.provider import OperatorFinder
from mmhgkd.utils import ConfigError


def test_compiled_operators_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = tmp_path / '_ext.py'
    compiled.touch()
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    spec = importlib.util.find_spec('mmcv._ext')
    assert spec is not None and spec.origin is not None
    assert spec.origin.endswith('extension.py')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])
    spec = importlib.util.find_spec('mmcv._ext')
    assert spec is not None and spec.origin == str(compiled)


def test_nothing_else_is_found() -> None:
    for name in ('mmcv._other', 'other', 'other._ext'):
        assert OperatorFinder.find_spec(name) is None
    assert PathFinder.find_spec('mmcv._ext', mmcv.__path__) is None


def test_installed_once() -> None:
    install_operators()
    assert sys.meta_path.count(OperatorFinder) == 1


def test_other_operators_say_what_is_missing() -> None:
    pool = RoIPool(2)
    with pytest.raises(
        MissingOperatorError, match='`roi_pool_forward` of MMCV is not'
    ) as error:
        pool(torch.rand(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]))
    assert isinstance(error.value, NotImplementedError)
    assert isinstance(error.value, ConfigError)  # tools print it in one line
    import mmcv._ext

    assert not hasattr(mmcv._ext, '__wrapped__')


def test_environment_report_names_the_operators() -> None:
    assert 'mmhgkd' in get_compiler_version()


def test_mmdet_imports_without_a_word_on_operators() -> None:
    code = (
        'import sys, mmhgkd; assert "mmcv.ops" not in sys.modules; '
        'import mmdet.models, mmdet.apis'
    )
    process = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert 'compile' not in process.stdout + process.stderr
