from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mmhgkd.algorithms import HGKD
from mmhgkd.catalog import Photos
from mmhgkd.evaluation import knn_accuracy, linear_probe_accuracy
from mmhgkd.evaluation.embedding import global_embedding
from mmhgkd.registry import MODELS
from mmhgkd.teachers.checkpoint import read_state_dict, strip_prefix
from mmhgkd.transfer.converters.student import inference_dataloader
from mmhgkd.utils import ConfigError

#: Photos that the comparison takes, by device.
LIMIT = {'cpu': 1000, 'cuda': 10_000}
NEIGHBORS = 10
#: One photo of so many is classified by the others.
FOLDS = 4


class Judge:
    """Compares student and teacher before and after a distillation.

    Where the photos lie in one folder a class, some of them are classified
    by the others, by nearest neighbors and by a linear probe. Everywhere,
    the nearest neighbors of each photo are compared with the teacher's.

    Args:
        config (Config): Of the distillation.
        photos (Photos): The photos.
        device (str): Where to compute.
        seed (int): Seed of the choice of photos, and of the weights of an
            untrained student. Defaults to 0.
        workers (int): Processes that load photos. Defaults to 0.
    """

    def __init__(
        self,
        config: Config,
        photos: Photos,
        device: str,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        self.config = config
        self.device = device
        self.seed = seed
        self.workers = workers
        self.unreadable = 0  #: photos, at the last look
        rng = np.random.default_rng(seed)
        chosen = sorted(rng.permutation(len(photos.files))[: LIMIT[device]])
        self.files = [photos.files[index] for index in chosen]
        self.labels: Tensor | None = None
        self.held_out = torch.zeros(len(chosen), dtype=torch.bool)
        if photos.labels:
            labels = torch.tensor([photos.labels[index] for index in chosen])
            held_out = torch.tensor(
                [file in photos.held_out for file in self.files]
            )
            if not held_out.any():
                held_out = torch.arange(len(labels)) % FOLDS == 0
                # Of each class the same share.
                held_out = held_out[labels.argsort(stable=True).argsort()]
            bank = labels[~held_out].unique()
            held_out &= torch.isin(labels, bank) | ~held_out
            if len(bank) > 1 and held_out.any():
                self.labels, self.held_out = labels, held_out
        #: The photos as the student sees them; None where one is broken.
        self.dataset = _Files(self.files, config)

    @property
    def queries(self) -> frozenset[str]:
        """Files that are classified by the others."""
        rows = zip(self.files, self.held_out.tolist(), strict=True)
        return frozenset(file for file, held_out in rows if held_out)

    def build_model(self, checkpoint: str | Path | None = None) -> HGKD:
        """Teacher and student, the latter untrained without a checkpoint."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = build_training(self.config)
            model.init_weights()
        if checkpoint is not None:
            model.load_state_dict(read_state_dict(str(checkpoint)))
        model.teacher.to(self.device)
        model.to(self.device)
        model.eval()
        return model

    def embed_twin(self, model: HGKD, checkpoint: Path) -> Tensor:
        """Embeddings of all photos by the same student with other weights.

        Args:
            model (HGKD): Of :meth:`build_model`; its student gets them.
            checkpoint (Path): Of a training with the same student.
        """
        state = strip_prefix(read_state_dict(str(checkpoint)), 'backbone.')
        model.backbone.load_state_dict(state)
        return self.embed(model, with_teacher=False)[0]

    @torch.no_grad()
    def embed(
        self, model: HGKD, with_teacher: bool = True
    ) -> tuple[Tensor, ...]:
        """Embeddings of all photos, ``(N, D)``: student's and teacher's.

        A photo that cannot be read has an embedding of zeros, and is counted
        in ``unreadable``.

        Args:
            model (HGKD): Of :meth:`build_model`.
            with_teacher (bool): Whether to give the teacher's, too.
                Defaults to True.

        Raises:
            ConfigError: If no photo can be read.
        """
        loader: Any = DataLoader(
            self.dataset, 32, num_workers=self.workers, collate_fn=list
        )
        embeddings: list[list[Tensor]] = []
        empty = 0  # rows before the first photo that can be read
        self.unreadable = 0
        for samples in loader:
            read = [sample is not None for sample in samples]
            self.unreadable += read.count(False)
            if not any(read):
                empty += len(read) * (not embeddings)
                for found in embeddings:
                    found.append(torch.zeros(len(read), found[0].size(1)))
                continue
            batch = default_collate([s for s in samples if s is not None])
            inputs = model.data_preprocessor(batch)['inputs']
            rows = [global_embedding(model.extract_feat(inputs))]
            if with_teacher:
                teacher = model.teacher
                layers = teacher.raw_tokens(inputs)
                rows.append(torch.cat([x.mean(1) for x in layers], -1))
            places = torch.tensor(read)
            embeddings = embeddings or [[] for _ in rows]
            for found, values in zip(embeddings, rows, strict=True):
                full = torch.zeros(empty + len(read), values.size(1))
                full[empty:][places] = values.float().cpu()
                found.append(full)
            empty = 0
        if not embeddings:
            raise ConfigError('none of the photos to compare by can be read')
        return tuple(torch.cat(found) for found in embeddings)

    def compare(
        self, students: Mapping[str, Tensor], teacher: Tensor
    ) -> dict[str, dict[str, float]]:
        """Metrics of students by name, between chance and the teacher.

        Args:
            students (Mapping[str, Tensor]): Embeddings, ``(N, D)``. The
                teacher may be among them, to have its place.
            teacher (Tensor): Those of the teacher, ``(N, D')``.
        """
        rows = dict(students)
        rows.setdefault('teacher', teacher)
        return {
            'chance': self.chance(),
            **{name: self.measure(row, teacher) for name, row in rows.items()},
        }

    def measure(self, embeddings: Tensor, teacher: Tensor) -> dict[str, float]:
        """Metrics in percent, of which more is better.

        Args:
            embeddings (Tensor): ``(N, D)``.
            teacher (Tensor): Those of the teacher, ``(N, D')``.

        Returns:
            dict[str, float]: 'knn' and 'linear', the accuracies, where there
            are classes, and 'neighbors', the share of the teacher's nearest
            neighbors that are nearest neighbors here, too.
        """
        metrics = {}
        if self.labels is not None:
            bank, query = ~self.held_out, self.held_out
            data = (
                embeddings[bank],
                self.labels[bank],
                embeddings[query],
                self.labels[query],
            )
            metrics['knn'] = knn_accuracy(*data)['top1']
            metrics['linear'] = linear_probe_accuracy(*data)['top1']
        if len(embeddings) > NEIGHBORS:
            metrics['neighbors'] = agreement(embeddings, teacher)
        return metrics

    def changed(self, before: Tensor, after: Tensor) -> float | None:
        """Percent of the nearest neighbors that are others now.

        Args:
            before (Tensor): Embeddings, ``(N, D)``.
            after (Tensor): Later ones, ``(N, D)``.

        Returns:
            float, optional: None of too few photos.
        """
        if len(before) <= NEIGHBORS:
            return None
        return 100 - agreement(before, after)

    def chance(self) -> dict[str, float]:
        """What a student that knows nothing has."""
        metrics = {}
        if self.labels is not None:
            counts = self.labels[self.held_out].bincount()
            metrics['knn'] = metrics['linear'] = (
                100 * float(counts.max()) / float(counts.sum())
            )
        if len(self.files) > NEIGHBORS:
            metrics['neighbors'] = 100 * NEIGHBORS / (len(self.files) - 1)
        return metrics


def build_training(config: Config) -> Any:
    """Build the model of a training, not compiled."""
    model = config.model.to_dict()
    if 'compile' in model:
        model['compile'] = False
    preprocessor = config.get('data_preprocessor')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build({'data_preprocessor': preprocessor, **model})


def nearest(embeddings: Tensor, number: int) -> Tensor:
    """Indices of the nearest others of each row by cosine, ``(N, number)``.

    Args:
        embeddings (Tensor): ``(N, D)``; their mean is taken off first, which
            else hides how they differ.
        number (int): How many.
    """
    rows = functional.normalize(embeddings - embeddings.mean(0), dim=1)
    similarity = rows @ rows.T
    similarity.fill_diagonal_(-torch.inf)
    return similarity.topk(min(number, len(rows) - 1), dim=1).indices


def agreement(one: Tensor, other: Tensor, number: int = NEIGHBORS) -> float:
    """Percent of the nearest neighbors that two embeddings share."""
    first, second = nearest(one, number), nearest(other, number)
    shared = (first[:, :, None] == second[:, None]).any(2)
    return 100 * shared.double().mean().item()


class _Files(Dataset):
    def __init__(self, files: Sequence[str], config: Config) -> None:
        self.files = files
        steps = inference_dataloader(config)['dataset']['pipeline'][1:]
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            self.pipeline = Compose(
                [
                    TRANSFORMS.build(step)
                    for step in (
                        dict(type='mmhgkd.LoadImage', ignore_empty=True),
                        *steps,
                    )
                ]
            )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.pipeline(dict(img_path=self.files[index]))
