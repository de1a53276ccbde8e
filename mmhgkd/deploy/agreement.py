"""How far two files agree on photos, and how often they are right."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmhgkd.catalog.photos import find_photos
from mmhgkd.transfer.converters.preprocessing import Preprocessing
from mmhgkd.utils import ConfigError

from .onnx_file import run
from .verify import match

#: Boxes with a lower score are not compared.
LEAST_SCORE = 0.3


def calibration_photos(
    folder: str, limit: int = 200
) -> tuple[list[str], list[str]]:
    """Photos of a folder, spread evenly, and the class folder of each.

    Raises:
        ConfigError: If there are none.
    """
    found = find_photos(folder)
    total = len(found.files)
    count = min(limit, total)
    chosen = [(2 * i + 1) * total // (2 * count) for i in range(count)]
    files = [found.files[index] for index in chosen]
    root = Path(folder).resolve()
    parents = [Path(file).parent for file in files]
    return files, ['' if one == root else one.name for one in parents]


def compare_files(
    sessions: Sequence[Any],
    task: str,
    photos: Sequence[str],
    preprocessing: Preprocessing,
    labels: Sequence[int] = (),
) -> dict[str, float]:
    """Agreement of two sessions, and the accuracy of each.

    Args:
        sessions (Sequence[InferenceSession]): The two.
        task (str): What they do.
        photos (Sequence[str]): Files.
        preprocessing (Preprocessing): Their way into the graphs.
        labels (Sequence[int]): Class of each photo; -1 where it is not known.
            Defaults to (), without classes.

    Returns:
        dict[str, float]: In 0 to 1: 'agreement', and 'accuracy before' and
        'accuracy after' where there are classes.
    """
    total, hits, known = 0.0, [0, 0], 0
    agreements = 0
    for number, path in enumerate(photos):
        image = torch.from_numpy(preprocessing(path).copy())[None]
        first, second = (run(session, image) for session in sessions)
        value = agreement(task, first, second)
        if value is not None:
            total += value
            agreements += 1
        if labels and labels[number] >= 0 and 'logits' in first:
            known += 1
            for place, found in enumerate((first, second)):
                best = int(found['logits'][0].argmax())
                hits[place] += best == labels[number]
    result = {}
    if agreements:
        result['agreement'] = total / agreements
    if known:
        result['accuracy before'] = hits[0] / known
        result['accuracy after'] = hits[1] / known
    return result


def agreement(
    task: str, first: dict[str, Tensor], second: dict[str, Tensor]
) -> float | None:
    """Of one photo, in 0 to 1; None where there is nothing to compare.

    Of a classifier whether the best class is the same, of embeddings their
    cosine, of a segmentor the share of equal pixels, and of a detector the
    share of boxes that the other finds, too.
    """
    if task == 'classification':
        best = (found['logits'].argmax(1) for found in (first, second))
        return float(torch.equal(*best))
    if task == 'embedding':
        return torch.cosine_similarity(
            first['embedding'], second['embedding']
        ).item()
    if task == 'segmentation':
        return (first['labels'] == second['labels']).float().mean().item()
    boxes = []
    for found in (first, second):
        keep = found['scores'][0] >= LEAST_SCORE
        boxes.append(
            {k: found[k][0][keep] for k in ('boxes', 'scores', 'labels')}
        )
    count = sum(len(found['scores']) for found in boxes)
    if not count:
        return None
    return 2 * len(match(boxes[0], boxes[1], 0.5, 2.0)) / count


def numbers_of(
    names: Sequence[str], classes: Sequence[str]
) -> tuple[list[int], str]:
    """Class of each photo by the name of its folder, and why none is known."""
    if not any(names):
        return [], 'the folder has no classes, so there is no accuracy'
    unknown = sorted(set(names) - set(classes))
    if unknown:
        return [], (
            f'no accuracy: the folder {unknown[0]} is no class of the model'
        )
    return [classes.index(name) for name in names], ''


def check_folder(folder: str) -> None:
    """Refuse a folder without photos before anything is computed."""
    if not find_photos(folder).files:
        raise ConfigError(f'`--int8`: there is no photo in {folder}')
