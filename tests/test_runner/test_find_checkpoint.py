import os
from pathlib import Path

import pytest
import torch

from mmhgkd.runner import find_checkpoint
from mmhgkd.utils import ConfigError


def write(folder: Path, name: str, age: int) -> Path:
    path = folder / name
    torch.save(
        dict(
            meta=dict(iter=age, seed=3),
            state_dict=dict(weight=torch.rand(1000)),
            message_hub={},
        ),
        path,
    )
    os.utime(path, (1000 - age, 1000 - age))
    return path


def test_newest_by_time_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, 'epoch_9.pth', 3)
    write(tmp_path, 'best_accuracy_epoch_9.pth', 0)
    newest = write(tmp_path, 'iter_10.pth', 1)
    write(tmp_path, 'interrupted.pth', 2)
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == newest
    assert found[1]['meta'] == dict(iter=1, seed=3)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None


@pytest.mark.parametrize('kind', ['cut', 'bit', 'empty', 'other'])
def test_damaged_one_is_passed_over(tmp_path: Path, kind: str) -> None:
    older = write(tmp_path, 'epoch_1.pth', 2)
    newer = write(tmp_path, 'epoch_2.pth', 1)
    content = bytearray(newer.read_bytes())
    if kind == 'cut':
        content = content[:-100]
    elif kind == 'bit':  # in a weight: PyTorch itself would not notice
        content[content.index(b'/data/0') + 2000] ^= 1
        before = torch.load(newer)['state_dict']['weight']
    elif kind == 'empty':
        content = bytearray()
    newer.write_bytes(content)
    if kind == 'other':
        torch.save(dict(state_dict={}), newer)
    if kind == 'bit':
        after = torch.load(newer)['state_dict']['weight']
        assert not torch.equal(before, after)
    (tmp_path / 'last_checkpoint').write_text(str(newer))
    found = find_checkpoint(tmp_path)
    assert found is not None and found[0] == older


def test_none_is_whole(tmp_path: Path) -> None:
    write(tmp_path, 'epoch_1.pth', 1).write_bytes(b'')
    with pytest.raises(ConfigError, match=r'is whole \(epoch_1.pth\)'):
        find_checkpoint(tmp_path)


def test_record_names_a_checkpoint_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    path = write(elsewhere, 'epoch_1.pth', 1)
    (tmp_path / 'last_checkpoint').write_text(str(path))
    found = find_checkpoint(tmp_path)
    assert found is not None and found[0] == path
