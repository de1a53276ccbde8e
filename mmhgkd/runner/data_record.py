"""What of the data a resumed run has to find as it was."""

import hashlib
import os
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list
from torch.utils.data import DataLoader

from mmhgkd.utils import ConfigError

#: Names that are looked at; of more samples these are evenly spaced ones.
_MOST_NAMES = 100_000
_WORDS = {
    'batch_size': 'batch size',
    'world_size': 'processes',
    'samples': 'images',
    'length': 'iterations an epoch',
    'sampler': 'sampler',
    'shuffle': 'shuffling',
}


def record_data(dataloader: DataLoader, world_size: int) -> dict[str, Any]:
    """Describe the data of a training, the same on all ranks.

    Args:
        dataloader (DataLoader): Of the training.
        world_size (int): Number of processes.

    Returns:
        dict[str, Any]: Plain values, for the checkpoint.

    Raises:
        ConfigError: If the ranks have batches of different sizes.
    """
    batches = dataloader.batch_sampler
    size = getattr(batches, 'batch_size', dataloader.batch_size)
    length = _length(dataloader)
    sizes = all_gather_object((size, length))
    if len(set(sizes)) > 1:
        text = ', '.join(f'{batch} ({count})' for batch, count in sizes)
        raise ConfigError(
            'all processes need the same `train_dataloader.batch_size`, and '
            'as many iterations; batch sizes by rank, iterations of an '
            f'epoch in brackets: {text}'
        )
    sampler = getattr(batches, 'sampler', dataloader.sampler)
    files = [_fingerprint(dataloader.dataset)]
    # Of the rank that has written the checkpoint.
    broadcast_object_list(files)
    return dict(
        length=length,
        batch_size=size,
        world_size=world_size,
        samples=_length(dataloader.dataset),
        sampler=type(sampler).__name__,
        shuffle=getattr(sampler, 'shuffle', None),
        files=files[0],
    )


def find_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say what of the data has changed.

    Args:
        before (dict[str, Any]): Of :func:`record_data`, when it was saved.
        now (dict[str, Any]): Of this run.

    Returns:
        list[str]: One text a change.
    """
    found = [
        f'{text} {before[key]} -> {now[key]}'
        for key, text in _WORDS.items()
        if key in before and before[key] != now[key]
    ]
    if before.get('files') != now['files'] and not any(
        text.startswith('images') for text in found
    ):
        found.append('other images')
    return found


def _fingerprint(dataset: Any) -> str:
    """Fingerprint of the list of files, wherever their folder lies."""
    count = _length(dataset) or 0
    digest = hashlib.sha256(str(count).encode())
    names = []
    for index in range(0, count, max(1, count // _MOST_NAMES)):
        try:
            path = dataset.get_data_info(index)['img_path']
        except (AttributeError, KeyError, TypeError):
            break  # its samples have no files
        names.append(str(path))
    if names:
        try:
            folder = os.path.commonpath(list(map(os.path.dirname, names)))
        except ValueError:
            folder = ''  # of several data sets, without a common folder
        for name in names:
            digest.update(name[len(folder) :].encode(errors='replace'))
            digest.update(b'\0')
    return digest.hexdigest()[:16]


def _length(items: Any) -> int | None:
    try:
        return len(items)
    except TypeError:  # a stream
        return None
