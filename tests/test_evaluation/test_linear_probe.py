import logging
import warnings

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from mmhgkd.evaluation import LinearProbeAccuracy, linear_probe_accuracy
from mmhgkd.registry import METRICS
from mmhgkd.utils import ConfigError


def make_data(
    noise: float, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centers = 3 * torch.randn(4, 6, generator=generator)
    scale = torch.tensor([1.0, 10.0, 0.1, 1.0, 5.0, 1e-3])
    labels = torch.arange(160) % 4
    noises = torch.randn(160, 6, generator=generator)
    feats = (centers[labels] + noise * noises) * scale + 7
    return feats[:100], labels[:100], feats[100:], labels[100:]


def reference_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    query: Tensor,
    query_labels: Tensor,
    C: float,
) -> float:
    """Minimize the penalized likelihood directly."""
    x, z = bank.double().numpy(), query.double().numpy()
    mean, deviation = x.mean(0), x.std(0)
    x, z = (x - mean) / deviation, (z - mean) / deviation
    labels, width = bank_labels.numpy(), x.shape[1]

    def logits(weights: np.ndarray, feats: np.ndarray) -> np.ndarray:
        weights = weights.reshape(width + 1, 4)
        return feats @ weights[:-1] + weights[-1]

    def loss(weights: np.ndarray) -> float:
        likelihood = log_softmax(logits(weights, x), axis=1)
        penalty = (weights.reshape(width + 1, 4)[:-1] ** 2).sum() / 2
        return penalty - C * likelihood[np.arange(len(x)), labels].sum()

    weights = minimize(loss, np.zeros((width + 1) * 4), method='BFGS').x
    hits = logits(weights, z).argmax(1) == query_labels.numpy()
    return 100 * hits.mean()


@pytest.mark.parametrize('C', [0.01, 1.0])
def test_matches_the_penalized_likelihood(C: float) -> None:
    data = make_data(noise=4.0)
    expected = reference_accuracy(*data, C=C)
    assert 25 < expected < 100
    accuracy = linear_probe_accuracy(*data, C=C)
    assert accuracy == {'top1': pytest.approx(expected)}


def test_labels_decide() -> None:
    bank, bank_labels, query, query_labels = make_data(noise=0.3)
    separable = linear_probe_accuracy(bank, bank_labels, query, query_labels)
    assert separable['top1'] == 100
    shuffle = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    shuffled = linear_probe_accuracy(
        bank, bank_labels[shuffle], query, query_labels
    )
    assert shuffled['top1'] < 60


def test_no_convergence_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            linear_probe_accuracy(*make_data(noise=4.0), max_iter=2)
            linear_probe_accuracy(*make_data(noise=4.0))
    finally:
        logger.removeHandler(caplog.handler)
    records = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(records) == 1
    assert 'raise `max_iter`' in records[0].getMessage()


def test_broken_embeddings_are_refused() -> None:
    bank, bank_labels, query, query_labels = make_data(noise=1.0)
    with pytest.raises(ConfigError, match=r'classes \[2\] of `query`'):
        keep = bank_labels != 2
        linear_probe_accuracy(
            bank[keep], bank_labels[keep], query, query_labels
        )
    with pytest.raises(ConfigError, match='single class'):
        keep = bank_labels == 2
        linear_probe_accuracy(
            bank[keep],
            bank_labels[keep],
            query[query_labels == 2],
            query_labels[query_labels == 2],
        )
    with pytest.raises(ConfigError, match='100 of 100 embeddings of `bank`'):
        linear_probe_accuracy(
            bank * float('nan'), bank_labels, query, query_labels
        )


@pytest.mark.parametrize(
    'options', [{'C': 0.0}, {'max_iter': 0}, {'bank': 'val'}]
)
def test_wrong_options_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=f'`{next(iter(options))}`'):
        LinearProbeAccuracy(**options)


def test_metric_reports_the_probe() -> None:
    data = make_data(noise=4.0)
    metric = METRICS.build(dict(type='LinearProbeAccuracy', C=0.01))
    for split, embeddings, labels in (
        ('train', *data[:2]),
        ('val', *data[2:]),
    ):
        metric.process(
            None,
            [
                dict(split=split, gt_label=label[None], embedding=embedding)
                for embedding, label in zip(embeddings, labels, strict=True)
            ],
        )
    expected = linear_probe_accuracy(*data, C=0.01)['top1']
    assert metric.evaluate(160) == {'linear/top1': expected}
