import logging
import warnings
from typing import Any

from mmengine.logging import print_log
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mmhgkd.registry import METRICS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.value_checks import is_count, is_number

from .embedding import check_embeddings
from .representation_metric import RepresentationMetric


@METRICS.register_module()
class LinearProbeAccuracy(RepresentationMetric):
    """Accuracy of a logistic regression on frozen embeddings.

    See :func:`linear_probe_accuracy` for the method. Reports ``linear/top1``
    in percent. The regression is solved on the CPU of one process; for banks
    of more than about 100,000 images use mmpretrain's linear-probe schedules.

    Args:
        C (float): Inverse strength of the L2 penalty. Hundreds of features
            and a few thousand images overfit at scikit-learn's 1.0.
            Defaults to 0.01.
        max_iter (int): Most iterations of the solver. Defaults to 1000.
        bank (str): Split whose labels are used. Defaults to 'train'.
        query (str): Split that is classified. Defaults to 'val'.
        **kwargs: ``collect_device``, ``prefix`` and ``collect_dir`` of
            :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ConfigError: If ``C`` or ``max_iter`` is not positive, or ``bank`` and
            ``query`` are the same split.
    """

    default_prefix = 'linear'

    def __init__(
        self,
        C: float = 0.01,
        max_iter: int = 1000,
        bank: str = 'train',
        query: str = 'val',
        **kwargs: Any,
    ) -> None:
        super().__init__(bank, query, **kwargs)
        _check_options(C, max_iter)
        self.C = C
        self.max_iter = max_iter

    def accuracy(
        self,
        bank: Tensor,
        bank_labels: Tensor,
        query: Tensor,
        query_labels: Tensor,
    ) -> dict[str, float]:
        """See :meth:`RepresentationMetric.accuracy`."""
        return linear_probe_accuracy(
            bank, bank_labels, query, query_labels, self.C, self.max_iter
        )


def linear_probe_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    query: Tensor,
    query_labels: Tensor,
    C: float = 0.01,
    max_iter: int = 1000,
) -> dict[str, float]:
    """Accuracy of a logistic regression on frozen embeddings.

    The embeddings are standardized with the mean and the deviation of the
    bank; a multinomial logistic regression with L2 penalty is then fitted to
    the bank in float64.

    Args:
        bank (Tensor): Labelled embeddings, ``(N, D)``.
        bank_labels (Tensor): Class ids of the bank, ``(N, )``.
        query (Tensor): Embeddings to classify, ``(M, D)``.
        query_labels (Tensor): Class ids of the query, ``(M, )``.
        C (float): Inverse strength of the L2 penalty. Defaults to 0.01.
        max_iter (int): Most iterations of the solver. Defaults to 1000.

    Returns:
        dict[str, float]: ``top1`` in percent.

    Raises:
        ConfigError: If ``C`` or ``max_iter`` is not positive, or the bank
            has a single class.
        ValueError: If the tensors fail :func:`check_embeddings`.
    """
    _check_options(C, max_iter)
    check_embeddings(bank, bank_labels, query, query_labels)
    if len(bank_labels.unique()) < 2:
        raise ConfigError(
            '`bank` holds a single class; a linear probe needs at least two'
        )
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=C, max_iter=max_iter)
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        probe.fit(bank.double().cpu().numpy(), bank_labels.cpu().numpy())
    if probe[-1].n_iter_.max() >= max_iter:
        print_log(
            f'the linear probe did not converge in {max_iter} iterations; '
            'raise `max_iter` or lower `C`',
            logger='current',
            level=logging.WARNING,
        )
    rows, labels = query.double().cpu().numpy(), query_labels.cpu().numpy()
    return {'top1': 100 * float(probe.score(rows, labels))}


def _check_options(C: float, max_iter: int) -> None:
    if not is_number(C) or C <= 0:
        raise ConfigError(f'`C` must be positive, got {C!r}')
    if not is_count(max_iter, 1):
        raise ConfigError(f'`max_iter` must be at least 1, got {max_iter!r}')
