import os
from pathlib import Path

import pytest

from mmhgkd.utils.whole_file import remove_partial_files, write_whole


def test_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    for content in (b'first', b'second'):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_keeps_the_old_file_where_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'a.pth'
    write_whole(path, b'old')

    def full(handle: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        write_whole(path, b'new')
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_removes_only_its_own_leftovers(tmp_path: Path) -> None:
    for name in ('.epoch_1.pth.77.partial', '.other.partial', 'epoch_1.pth'):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        '.other.partial',
        'epoch_1.pth',
    ]
