import os
import pickle
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import pytest
import torch
from mmengine.fileio.handlers import file_handlers
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from mmhgkd.runner import find_checkpoint, safe_loading
from mmhgkd.teachers.checkpoint import read_state_dict
from mmhgkd.utils import ConfigError


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    path = tmp_path / 'trap'
    pickle.loads(pickle.dumps(Malicious(path)))
    assert path.exists()  # the attack works where nothing is done against it
    path.rmdir()
    return path


@pytest.fixture(params=['zip', 'legacy', 'pickle'])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path: Path, trap: Path
) -> Path:
    path = tmp_path / 'epoch_1.pth'
    content = dict(state_dict=dict(weight=Malicious(trap)), meta={})
    if request.param == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(
            content,
            path,
            _use_new_zipfile_serialization=request.param == 'zip',
        )
    return path


def test_checkpoint_runs_nothing(checkpoint: Path, trap: Path) -> None:
    with safe_loading():
        with pytest.raises(ConfigError, match='can run code'):
            load_checkpoint(nn.Linear(1, 1), str(checkpoint))
        with pytest.raises(pickle.UnpicklingError):
            torch.load(checkpoint, weights_only=False)
    assert not trap.exists()


def test_safetensors_are_read_without_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose `torch.load` knows them in recent versions only."""
    path = tmp_path / 'weights.safetensors'
    source, layer = nn.Linear(2, 3), nn.Linear(2, 3)
    save_file(source.state_dict(), path)
    with safe_loading():
        monkeypatch.delattr(torch, 'load')
        load_checkpoint(layer, str(path), strict=True)
        assert torch.equal(layer.weight, source.weight)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ConfigError, match=f'{path}: cannot be read'):
            load_checkpoint(layer, str(path))


def test_resumed_checkpoint_runs_nothing(checkpoint: Path, trap: Path) -> None:
    with safe_loading(), pytest.raises(ConfigError):
        find_checkpoint(checkpoint.parent)
    assert not trap.exists()


def test_teacher_runs_nothing(checkpoint: Path, trap: Path) -> None:
    with pytest.raises(ValueError):
        read_state_dict(str(checkpoint))
    assert not trap.exists()


@pytest.mark.parametrize('suffix', ['pkl', 'pickle'])
def test_data_file_runs_nothing(
    tmp_path: Path, trap: Path, suffix: str
) -> None:
    path = tmp_path / f'data.{suffix}'
    path.write_bytes(pickle.dumps(dict(data_list=[Malicious(trap)])))
    with safe_loading(), pytest.raises(ConfigError, match='store the data as'):
        mmengine.load(str(path))
    assert not trap.exists()


def test_plain_data_and_arrays_load(tmp_path: Path) -> None:
    data = dict(
        boxes=np.arange(6.0).reshape(2, 3), score=np.float32(0.5), names={'a'}
    )
    path = tmp_path / 'data.pkl'
    with safe_loading():
        mmengine.dump(data, path)
        loaded = mmengine.load(path)
    np.testing.assert_array_equal(loaded['boxes'], data['boxes'])
    assert loaded['score'] == 0.5 and loaded['names'] == {'a'}


def test_log_of_a_checkpoint_loads_and_no_other_attribute(
    tmp_path: Path,
) -> None:
    path = tmp_path / 'a.pth'
    torch.save(dict(log=HistoryBuffer([1.0, 2.0], [1, 1])), path)

    class Attribute:
        def __reduce__(self) -> Any:
            return getattr, (np.ndarray, 'tofile')

    other = tmp_path / 'b.pth'
    torch.save(dict(log=Attribute()), other)
    with safe_loading():
        assert torch.load(path)['log'].mean(2) == 1.5
        with pytest.raises(pickle.UnpicklingError):
            torch.load(other)


def surroundings() -> tuple[Any, ...]:
    return (
        dict(os.environ),
        dict(file_handlers),
        dict(CheckpointLoader._schemes),
        set(torch.serialization.get_safe_globals()),
    )


def test_all_of_it_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(Path('a')))
    with torch.serialization.safe_globals([Path]):
        before = surroundings()
        with safe_loading():
            assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
            inside = surroundings()
            assert all(a != b for a, b in zip(inside, before, strict=True))
            assert Path in inside[-1]
            with pytest.raises(ZeroDivisionError), safe_loading():
                assert surroundings() == inside
                raise ZeroDivisionError
            assert surroundings() == inside
            with pytest.raises(ConfigError):
                mmengine.load(path)
        assert surroundings() == before
    assert mmengine.load(path) == Path('a')
