from typing import Any

import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from mmhgkd.runner.data_record import find_changes, record_data
from mmhgkd.utils import ConfigError


class Files:
    """A data set of files."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def get_data_info(self, index: int) -> dict[str, Any]:
        return dict(img_path=self.names[index])


def record(*names: str) -> Any:
    return record_data(DataLoader(Files(*names), batch_size=2), 1)['files']


def test_files_count_and_their_folder_does_not() -> None:
    assert record('/a/b/1.jpg', '/a/c/2.jpg') == record(
        'd/b/1.jpg', 'd/c/2.jpg'
    )
    assert record('/a/b/1.jpg', '/a/c/2.jpg') != record(
        '/a/b/1.jpg', '/a/b/2.jpg'
    )


def test_folders_without_a_common_one() -> None:
    one = record('/a/1.jpg', 'b/2.jpg')
    assert one == record('/a/1.jpg', 'b/2.jpg')
    assert one != record('/a/1.jpg', 'b/3.jpg')


def test_what_has_changed() -> None:
    files = Files('a', 'b', 'c', 'd')
    records = {}
    for shuffle, batch in ((True, 2), (False, 2), (True, 1)):
        loader = DataLoader(
            files,  # type: ignore[arg-type]
            batch_size=batch,
            sampler=DefaultSampler(files, shuffle=shuffle, seed=0),
        )
        records[shuffle, batch] = record_data(loader, 1)
    first = records[True, 2]
    assert not find_changes(first, dict(first))
    assert find_changes(first, records[False, 2]) == [
        'shuffling True -> False'
    ]
    assert find_changes(first, records[True, 1]) == [
        'batch size 2 -> 1',
        'iterations an epoch 2 -> 4',
    ]
    assert find_changes(first, {**first, 'world_size': 2}) == [
        'processes 1 -> 2'
    ]


def test_ranks_with_other_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        'mmhgkd.runner.data_record.all_gather_object',
        lambda mine: [mine, (4, 1)],
    )
    refusal = r'same `train_dataloader\.batch_size`.*2 \(2\), 4 \(1\)'
    with pytest.raises(ConfigError, match=refusal):
        record('a', 'b', 'c', 'd')
