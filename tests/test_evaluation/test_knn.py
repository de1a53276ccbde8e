import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from mmhgkd.evaluation import KNNAccuracy, knn_accuracy
from mmhgkd.registry import METRICS
from mmhgkd.utils import ConfigError


def make_data(
    classes: int = 8, noise: float = 2.0, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, 12, generator=generator)
    bank_labels = torch.arange(90) % classes
    query_labels = torch.arange(60) % classes

    def sample(labels: Tensor) -> Tensor:
        noises = torch.randn(len(labels), 12, generator=generator)
        return centers[labels] + noise * noises

    return sample(bank_labels), bank_labels, sample(query_labels), query_labels


def naive_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    query: Tensor,
    query_labels: Tensor,
    k: int,
    temperature: float,
    top: int,
) -> float:
    hits = 0
    for x, own in zip(
        query.double().tolist(), query_labels.tolist(), strict=True
    ):
        similarity = []
        for y, label in zip(
            bank.double().tolist(), bank_labels.tolist(), strict=True
        ):
            dot = sum(a * b for a, b in zip(x, y, strict=True))
            similarity.append((dot / math.hypot(*x) / math.hypot(*y), label))
        votes: dict[int, float] = defaultdict(float)
        for cosine, label in sorted(similarity, reverse=True)[:k]:
            votes[label] += math.exp(cosine / temperature)
        best = sorted(votes, key=lambda label: (-votes[label], label))[:top]
        hits += own in best
    return 100 * hits / len(query)


@pytest.mark.parametrize(
    ('k', 'temperature'), [(1, 0.07), (5, 0.07), (20, 0.2), (90, 0.5)]
)
def test_matches_a_naive_loop(k: int, temperature: float) -> None:
    data = make_data()
    accuracy = knn_accuracy(*data, k=k, temperature=temperature)
    assert set(accuracy) == {'top1', 'top5'}
    for top in (1, 5):
        expected = naive_accuracy(*data, k=k, temperature=temperature, top=top)
        assert accuracy[f'top{top}'] == pytest.approx(expected)
        assert 0 < expected <= 100


def test_matches_scikit_learn() -> None:
    bank, bank_labels, query, query_labels = make_data(classes=4)

    def weights(distance: np.ndarray) -> np.ndarray:
        return np.exp((1 - distance) / 0.07)

    reference = KNeighborsClassifier(20, weights=weights, metric='cosine')
    reference.fit(bank.double().numpy(), bank_labels.numpy())
    expected = reference.score(query.double().numpy(), query_labels.numpy())
    accuracy = knn_accuracy(bank, bank_labels, query, query_labels)
    assert accuracy == {'top1': pytest.approx(100 * expected)}


def test_chunks_and_label_values_do_not_matter() -> None:
    bank, bank_labels, query, query_labels = make_data()
    whole = knn_accuracy(bank, bank_labels, query, query_labels)
    assert whole == knn_accuracy(
        bank, bank_labels * 7 + 3, query, query_labels * 7 + 3, chunk_size=7
    )


def test_bank_smaller_than_k_votes_as_a_whole() -> None:
    data = make_data()
    assert knn_accuracy(*data, k=1000) == knn_accuracy(*data, k=90)


def test_temperature_sharpens_the_vote() -> None:
    # Two far neighbors of class 0 against one near neighbor of class 1;
    # exp(1 / 1e-4) overflows.
    bank = torch.tensor([[1.0, 0.1], [1.0, 0.5], [1.0, -0.5]])
    labels = torch.tensor([1, 0, 0])
    query, own = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    sharp = knn_accuracy(bank, labels, query, own, k=3, temperature=1e-4)
    flat = knn_accuracy(bank, labels, query, own, k=3, temperature=10)
    assert (sharp['top1'], flat['top1']) == (100, 0)


def test_equal_votes_go_to_the_lower_class() -> None:
    bank = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    accuracy = knn_accuracy(
        bank, torch.tensor([4, 2]), query, torch.tensor([2, 4])
    )
    assert accuracy['top1'] == 50


def test_class_without_votes_is_no_prediction() -> None:
    # Only class 5 votes; class 0 would fill the five best by its low id.
    bank = torch.eye(6)
    accuracy = knn_accuracy(
        bank, torch.arange(6), bank[[5, 5]], torch.tensor([5, 0]), k=1
    )
    assert accuracy == {'top1': 50, 'top5': 50}


def test_broken_embeddings_are_refused() -> None:
    bank, bank_labels, query, query_labels = make_data()
    with pytest.raises(ConfigError, match=r'classes \[7\] of `query`'):
        keep = bank_labels != 7
        knn_accuracy(bank[keep], bank_labels[keep], query, query_labels)
    with pytest.raises(ValueError, match='`bank` must be embeddings'):
        knn_accuracy(bank[:0], bank_labels[:0], query, query_labels)
    with pytest.raises(ValueError, match='`query` has 60 embeddings'):
        knn_accuracy(bank, bank_labels, query, query_labels[:-1])
    with pytest.raises(ValueError, match='same model'):
        knn_accuracy(bank, bank_labels, query[:, :5], query_labels)
    for value in (float('nan'), float('inf')):
        broken = query.clone()
        broken[[3, 5], 2] = value
        with pytest.raises(ConfigError, match='2 of 60 embeddings of `query`'):
            knn_accuracy(bank, bank_labels, broken, query_labels)


@pytest.mark.parametrize(
    'options',
    [{'k': 0}, {'temperature': 0.0}, {'bank': 'val'}, {'center': 'median'}],
)
def test_wrong_options_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=f'`{next(iter(options))}`'):
        KNNAccuracy(**options)


def as_samples(
    split: str, embeddings: Tensor, labels: Tensor
) -> list[dict[str, object]]:
    return [
        dict(split=split, gt_label=label[None], embedding=embedding)
        for embedding, label in zip(embeddings, labels, strict=True)
    ]


def test_metric_separates_the_splits() -> None:
    bank, bank_labels, query, query_labels = make_data()
    samples = as_samples('query', query, query_labels)
    samples += as_samples('bank', bank, bank_labels)
    samples += as_samples('other', -query, query_labels)
    order = torch.randperm(len(samples)).tolist()
    metric = METRICS.build(
        dict(type='KNNAccuracy', k=7, bank='bank', query='query')
    )
    for i in range(0, len(samples), 16):
        metric.process(None, [samples[j] for j in order[i : i + 16]])
    expected = knn_accuracy(bank, bank_labels, query, query_labels, k=7)
    assert metric.evaluate(len(samples)) == {
        f'knn/{name}': pytest.approx(value) for name, value in expected.items()
    }


@pytest.mark.parametrize('center', ['mean', 'whiten'])
def test_metric_centers_by_the_bank(center: str) -> None:
    bank, bank_labels, query, query_labels = make_data()
    # A shared direction, and one without meaning that hides the others.
    for x in (bank, query):
        x += 10
        x[:, 3] += 40 * torch.sin(torch.arange(len(x)))
    unit = [
        x / np.linalg.norm(x, axis=1, keepdims=True)
        for x in (bank.double().numpy(), query.double().numpy())
    ]
    root = np.eye(12)
    if center == 'whiten':
        covariance = np.cov(unit[0].T, bias=True)
        covariance = (
            0.9 * covariance + 0.1 * np.eye(12) * np.trace(covariance) / 12
        )
        values, vectors = np.linalg.eigh(covariance)
        root = vectors @ np.diag(values**-0.5) @ vectors.T
    centered = [torch.from_numpy((x - unit[0].mean(0)) @ root) for x in unit]
    expected = knn_accuracy(
        centered[0], bank_labels, centered[1], query_labels
    )
    found = KNNAccuracy(center=center).accuracy(
        bank, bank_labels, query, query_labels
    )
    assert found == pytest.approx(expected)
    plain = KNNAccuracy().accuracy(bank, bank_labels, query, query_labels)
    assert found['top1'] > plain['top1']


@pytest.mark.parametrize(
    ('field', 'message'),
    [
        ('embedding', 'RepresentationLoop'),
        ('split', 'PackInputs'),
        ('gt_label', 'one class id'),
    ],
)
def test_metric_names_the_missing_field(field: str, message: str) -> None:
    sample = as_samples('train', *make_data()[:2])[0]
    del sample[field]
    with pytest.raises(ConfigError, match=message):
        KNNAccuracy().process(None, [sample])


def test_metric_refuses_several_labels() -> None:
    sample = as_samples('train', *make_data()[:2])[0]
    sample['gt_label'] = torch.tensor([1, 2])
    with pytest.raises(ConfigError, match='one class id'):
        KNNAccuracy().process(None, [sample])


def test_metric_names_the_missing_split() -> None:
    metric = KNNAccuracy()
    metric.process(None, as_samples('train', *make_data()[:2]))
    with pytest.raises(ConfigError, match=r"'val' of `query`.*'train': 90"):
        metric.evaluate(90)
