from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mmhgkd.losses.centering import CENTERS, center_embeddings
from mmhgkd.registry import METRICS
from mmhgkd.utils import ConfigError, one_of
from mmhgkd.utils.value_checks import is_count, is_number

from .embedding import check_embeddings
from .representation_metric import RepresentationMetric


@METRICS.register_module()
class KNNAccuracy(RepresentationMetric):
    """Accuracy of a weighted k-nearest-neighbor classifier.

    See :func:`knn_accuracy` for the method. Reports ``knn/top1`` and, if the
    bank has more than five classes, ``knn/top5``, in percent.

    Args:
        k (int): Neighbors that vote. Defaults to 20.
        temperature (float): Temperature of the votes. Defaults to 0.07.
        bank (str): Split whose labels are used. Defaults to 'train'.
        query (str): Split that is classified. Defaults to 'val'.
        device (str): Where the neighbors are searched, such as 'cuda' for a
            bank of a million images. Defaults to 'cpu'.
        center (str): What is taken from the embeddings before: 'none',
            'mean' (the mean of the bank) or 'whiten' (its mean and
            covariance), see :func:`mmhgkd.losses.center_embeddings`. The
            embeddings of a teacher that was pre-trained by masked image
            modeling share a direction that hides their neighbors.
            Defaults to 'none'.
        **kwargs: ``collect_device``, ``prefix`` and ``collect_dir`` of
            :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ConfigError: If ``k`` or ``temperature`` is not positive, ``center``
            is unknown, or ``bank`` and ``query`` are the same split.
    """

    default_prefix = 'knn'

    def __init__(
        self,
        k: int = 20,
        temperature: float = 0.07,
        bank: str = 'train',
        query: str = 'val',
        device: str = 'cpu',
        center: str = 'none',
        **kwargs: Any,
    ) -> None:
        super().__init__(bank, query, **kwargs)
        _check_options(k, temperature)
        one_of('`center`', center, CENTERS)
        self.center = center
        self.k = k
        self.temperature = temperature
        self.device = device

    def accuracy(
        self,
        bank: Tensor,
        bank_labels: Tensor,
        query: Tensor,
        query_labels: Tensor,
    ) -> dict[str, float]:
        """See :meth:`RepresentationMetric.accuracy`."""
        if self.center != 'none':
            unit = functional.normalize(bank.float())
            query = center_embeddings(
                functional.normalize(query.float()), unit, self.center
            )
            bank = center_embeddings(unit, unit, self.center)
        return knn_accuracy(
            bank.to(self.device),
            bank_labels.to(self.device),
            query.to(self.device),
            query_labels.to(self.device),
            k=self.k,
            temperature=self.temperature,
        )


def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    query: Tensor,
    query_labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    chunk_size: int = 256,
) -> dict[str, float]:
    """Accuracy of a weighted k-nearest-neighbor classifier.

    The ``k`` images of the bank with the largest cosine similarity ``s`` vote
    for their classes with the weight ``exp(s / temperature)``, as in InstDisc
    (Wu et al., 2018) and DINO (Caron et al., 2021). Of classes with equal
    votes the lower id goes first; a class without votes is no prediction.

    Args:
        bank (Tensor): Labelled embeddings, ``(N, D)``.
        bank_labels (Tensor): Class ids of the bank, ``(N, )``.
        query (Tensor): Embeddings to classify, ``(M, D)``.
        query_labels (Tensor): Class ids of the query, ``(M, )``.
        k (int): Neighbors that vote, all of the bank if it is smaller.
            Defaults to 20.
        temperature (float): Temperature of the votes. Defaults to 0.07.
        chunk_size (int): Queries that are compared with the bank at once.
            Defaults to 256.

    Returns:
        dict[str, float]: ``top1`` and, if the bank has more than five
        classes, ``top5``, in percent.

    Raises:
        ConfigError: If ``k`` or ``temperature`` is not positive.
        ValueError: If the tensors fail :func:`check_embeddings`.
    """
    _check_options(k, temperature)
    check_embeddings(bank, bank_labels, query, query_labels)
    classes, bank_ids = bank_labels.unique(return_inverse=True)
    query_ids = torch.searchsorted(classes, query_labels)
    bank = functional.normalize(bank.float())
    k = min(k, len(bank))
    order = torch.arange(len(classes), device=bank.device)
    ranks = []
    for chunk, own in zip(
        query.split(chunk_size), query_ids.split(chunk_size), strict=True
    ):
        similarity = functional.normalize(chunk.float()) @ bank.T
        similarity, neighbors = similarity.topk(k)
        # Relative to the nearest neighbor, so that no temperature overflows.
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = weights.new_zeros(len(chunk), len(classes))
        votes.scatter_add_(1, bank_ids[neighbors], weights)
        own = own[:, None]
        own_votes = votes.gather(1, own)
        ahead = (votes > own_votes) | ((votes == own_votes) & (order < own))
        rank = ahead.sum(dim=1)
        ranks.append(rank.where(own_votes[:, 0] > 0, len(classes)))
    rank = torch.cat(ranks)
    accuracy = {'top1': 100 * (rank < 1).double().mean().item()}
    if len(classes) > 5:
        accuracy['top5'] = 100 * (rank < 5).double().mean().item()
    return accuracy


def _check_options(k: int, temperature: float) -> None:
    if not is_count(k, 1):
        raise ConfigError(f'`k` must be at least 1 neighbor, got {k!r}')
    if not is_number(temperature) or temperature <= 0:
        raise ConfigError(
            f'`temperature` must be positive, got {temperature!r}'
        )
