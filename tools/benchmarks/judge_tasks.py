"""The judge of backbones: the same questions for each, by scikit-learn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from judge_probes import (
    UNLABELLED,
    Row,
    classify,
    extract,
    mean_iou,
    read_images,
    read_photos,
    read_segmentation,
    segment,
)
from mmengine.model import BaseModel

from mmhgkd.utils import ConfigError

__all__ = ['TASKS', 'Judge', 'Row']

TASKS = dict(knn='kNN', linear='linear', few='10 % labels', dense='mIoU')


class Judge:
    """The data, read once, and what every backbone is asked.

    Args:
        tasks (Sequence[str]): Of :data:`TASKS`.
        data (str, optional): Photos to learn from, one folder a class.
            Defaults to None.
        test (Sequence[str]): Photos to classify; folders are pooled.
            Defaults to none.
        dense_data (str, optional): Segmentation as ADE20K has it.
            Defaults to None.
        size (int): Side of the center crop in pixels. Defaults to 96.
        positions (int): Dense positions to learn from, at most.
            Defaults to 20000.
        batch_size (int): Images computed at a time. Defaults to 64.

    Raises:
        ConfigError: If the data lack something.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        data: str | None = None,
        test: Sequence[str] = (),
        dense_data: str | None = None,
        size: int = 96,
        positions: int = 20000,
        batch_size: int = 64,
    ) -> None:
        self.positions = positions
        self.batch_size = batch_size
        self.tasks = [task for task in tasks if task != 'dense']
        self.dense = 'dense' in tasks
        self.majority: Row = {}
        self.counts: dict[str, int] = {}
        if self.tasks and data:
            train, self.labels = read_photos([data])
            files, self.truth = read_photos(test)
            strange = sorted({*self.truth} - {*self.labels})
            if strange:
                raise ConfigError(
                    f'{data} has no photo of {", ".join(strange)}, classes '
                    'of the photos to classify'
                )
            both = {str(Path(x).resolve()) for x in train} & {
                str(Path(x).resolve()) for x in files
            }
            if both:
                raise ConfigError(
                    f'{len(both)} photos are to be learned from and to be '
                    f'classified, such as {min(both)}; what is learned by '
                    'heart is no test'
                )
            self.train = read_images(train, size)
            self.test = read_images(files, size)
            values, counts = np.unique(self.labels, return_counts=True)
            share = 100 * np.mean(self.truth == values[counts.argmax()])
            self.majority.update(dict.fromkeys(self.tasks, float(share)))
            self.counts.update(
                train=len(train), test=len(files), classes=len(values)
            )
        if self.dense and dense_data:
            self.dense_train = read_segmentation(dense_data, 'training', size)
            self.dense_test = read_segmentation(dense_data, 'validation', size)
            truth = self.dense_test[1]
            values, counts = np.unique(self.dense_train[1], return_counts=True)
            counts[np.isin(values, UNLABELLED)] = 0
            if not counts.any():
                raise ConfigError(f'{dense_data}: has no labels')
            most = np.full_like(truth, values[counts.argmax()])
            self.majority['dense'] = mean_iou(most, truth)
            self.counts.update(
                dense_train=len(self.dense_train[1]), dense_test=len(truth)
            )

    def judge(self, student: BaseModel) -> Row:
        """Figures of a backbone by task, in percent."""
        row: Row = {}
        size = self.batch_size
        if self.tasks:
            train = extract(student, self.train, size)
            test = extract(student, self.test, size)
            for task in self.tasks:
                row |= classify(task, train, self.labels, test, self.truth)
        if self.dense:
            row |= segment(
                extract(student, self.dense_train[0], size, dense=True),
                self.dense_train[1],
                extract(student, self.dense_test[0], size, dense=True),
                self.dense_test[1],
                self.positions,
            )
        return row
