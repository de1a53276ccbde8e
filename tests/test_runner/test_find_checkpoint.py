import os
from pathlib import Path
from typing import Any

import pytest
import torch

from mmhgkd.runner import find_checkpoint
from mmhgkd.runner.find_checkpoint import newest_iteration, write_run_id
from mmhgkd.utils import ConfigError


def write(
    folder: Path, name: str, iteration: int, run_id: str | None = None
) -> Path:
    """Write a checkpoint; the higher its iteration, the older the file."""
    meta: dict[str, Any] = dict(iter=iteration, epoch=0, seed=3)
    if run_id is not None:
        meta['run'] = dict(id=run_id)
    path = folder / name
    torch.save(
        dict(
            meta=meta,
            state_dict=dict(weight=torch.rand(1000)),
            message_hub={},
        ),
        path,
    )
    os.utime(path, (1000 - iteration, 1000 - iteration))
    return path


def test_newest_by_the_iteration_in_it(tmp_path: Path) -> None:
    """Neither by its name nor by the time of the file."""
    write(tmp_path, 'epoch_9.pth', 3)
    write(tmp_path, 'best_accuracy_epoch_9.pth', 90)
    newest = write(tmp_path, 'iter_10.pth', 12)
    write(tmp_path, 'interrupted.pth', 12)
    write(tmp_path, 'epoch_2.pth', 8)
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == newest
    assert found[1]['meta'] == dict(iter=12, epoch=0, seed=3)
    assert newest_iteration(tmp_path) == 12


def test_no_checkpoint(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None


@pytest.mark.parametrize('kind', ['cut', 'bit', 'empty', 'other'])
def test_damaged_one_is_passed_over(tmp_path: Path, kind: str) -> None:
    older = write(tmp_path, 'epoch_1.pth', 1)
    newer = write(tmp_path, 'epoch_2.pth', 2)
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


def test_copied_folder_takes_its_own(tmp_path: Path) -> None:
    """The record of a copy names a file of the first folder."""
    first, copy = tmp_path / 'first', tmp_path / 'copy'
    first.mkdir()
    copy.mkdir()
    (copy / 'last_checkpoint').write_text(str(write(first, 'iter_8.pth', 8)))
    assert find_checkpoint(copy) is None
    own = write(copy, 'iter_4.pth', 4)
    found = find_checkpoint(copy)
    assert found is not None and found[0] == own


def test_checkpoints_elsewhere(tmp_path: Path) -> None:
    work_dir, out_dir = tmp_path / 'work', tmp_path / 'out'
    work_dir.mkdir()
    out_dir.mkdir()
    path = write(out_dir, 'epoch_1.pth', 1)
    assert find_checkpoint(work_dir) is None
    found = find_checkpoint(work_dir, out_dir)
    assert found is not None and found[0] == path


def test_name_of_another_template(tmp_path: Path) -> None:
    path = write(tmp_path, 'state-7.pth', 7)
    (tmp_path / 'last_checkpoint').write_text(f'/gone/{path.name}\n')
    found = find_checkpoint(tmp_path)
    assert found is not None and found[0] == path


@pytest.mark.parametrize('record', ['x' * 5000, '\0', '', None])
def test_useless_record(tmp_path: Path, record: str | None) -> None:
    path = write(tmp_path, 'epoch_1.pth', 1)
    if record is None:
        (tmp_path / 'last_checkpoint').mkdir()
    else:
        (tmp_path / 'last_checkpoint').write_text(record)
    found = find_checkpoint(tmp_path)
    assert found is not None and found[0] == path


def test_only_plain_files(tmp_path: Path) -> None:
    path = write(tmp_path, 'epoch_1.pth', 1)
    (tmp_path / 'epoch_2.pth').mkdir()
    os.mkfifo(tmp_path / 'epoch_3.pth')
    found = find_checkpoint(tmp_path)
    assert found is not None and found[0] == path


def test_earlier_run_of_the_folder_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, 'epoch_9.pth', 90, 'old')
    write_run_id(tmp_path, 'new')
    assert find_checkpoint(tmp_path) is None
    assert newest_iteration(tmp_path) is None
    path = write(tmp_path, 'epoch_1.pth', 10, 'new')
    found = find_checkpoint(tmp_path)
    assert found is not None and found[0] == path


def test_several_runs_and_no_word_which(tmp_path: Path) -> None:
    write(tmp_path, 'epoch_9.pth', 90, 'old')
    write(tmp_path, 'epoch_1.pth', 10, 'new')
    with pytest.raises(ConfigError, match='several runs'):
        find_checkpoint(tmp_path)
