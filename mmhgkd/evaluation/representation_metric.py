from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmhgkd.utils import ConfigError


class RepresentationMetric(BaseMetric):
    """Base of the metrics that classify embeddings with other embeddings.

    Each data sample carries ``embedding`` ``(D, )``, ``gt_label`` with one
    class id and the name of its ``split``, as :class:`RepresentationLoop`
    provides them.

    Args:
        bank (str): Split whose labels are used. Defaults to 'train'.
        query (str): Split that is classified. Defaults to 'val'.
        **kwargs: ``collect_device``, ``prefix`` and ``collect_dir`` of
            :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ConfigError: If ``bank`` and ``query`` are the same split.
    """

    def __init__(
        self, bank: str = 'train', query: str = 'val', **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if bank == query:
            raise ConfigError(
                f'`bank` and `query` are both {bank!r}: every image would '
                'find itself; choose two splits'
            )
        self.bank = bank
        self.query = query

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the embedding, the class id and the split of each sample."""
        for sample in data_samples:
            if 'embedding' not in sample:
                raise ConfigError(
                    f'{type(self).__name__} needs embeddings; set '
                    "`val_cfg=dict(type='mmhgkd.RepresentationLoop')`, and "
                    '`test_cfg` likewise'
                )
            if 'split' not in sample:
                raise ConfigError(
                    "a sample has no `split`; use 'mmhgkd.ImageFolder' and "
                    "`PackInputs(meta_keys=('split', ...))` in the pipeline"
                )
            label = sample.get('gt_label')
            if label is None or label.numel() != 1:
                raise ConfigError(
                    f'{type(self).__name__} needs one class id per image, '
                    f'got `gt_label` {label}; evaluate on labelled splits '
                    'with a single label'
                )
            self.results.append(
                (sample['split'], label.item(), sample['embedding'])
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the accuracy from the samples of all ranks."""
        found = Counter(split for split, _, _ in results)
        for option in ('bank', 'query'):
            name = getattr(self, option)
            if not found[name]:
                raise ConfigError(
                    f'no image belongs to the split {name!r} of `{option}`, '
                    f'found {dict(found)}; concatenate the splits in the '
                    f'dataset of the dataloader or change `{option}` of '
                    f'{type(self).__name__}'
                )
        return self.accuracy(
            *self._select(results, self.bank),
            *self._select(results, self.query),
        )

    @staticmethod
    def _select(results: list, name: str) -> tuple[Tensor, Tensor]:
        """Embeddings ``(N, D)`` and class ids ``(N, )`` of a split."""
        rows = [result for result in results if result[0] == name]
        return (
            torch.stack([embedding for _, _, embedding in rows]),
            torch.tensor([label for _, label, _ in rows]),
        )

    @abstractmethod
    def accuracy(
        self,
        bank: Tensor,
        bank_labels: Tensor,
        query: Tensor,
        query_labels: Tensor,
    ) -> dict[str, float]:
        """Accuracy in percent on the query, of tensors as in a probe.

        Embeddings are ``(N, D)`` and ``(M, D)``, class ids ``(N, )`` and
        ``(M, )``.
        """
