import torch
import torch.nn.functional as F
from torch import Tensor

CENTERS = ('none', 'mean', 'whiten')
SHRINKAGE = 0.1


def center_embeddings(embeddings: Tensor, bank: Tensor, kind: str) -> Tensor:
    """Take away what the embeddings of a memory queue have in common.

    The mean tokens of a teacher may share a direction that is most of their
    length; all cosines are then near one. The statistics are those of the
    queue, which is the same on all ranks and in the checkpoint: there is no
    further state.

    Args:
        embeddings (Tensor): Of unit norm, ``(N, D)``.
        bank (Tensor): Embeddings in the queue, ``(K, D)``.
        kind (str): 'none'; 'mean' removes the mean of the queue; 'whiten'
            besides divides by the square root of its covariance ``C``, of
            which a share of 0.1 is replaced by ``tr(C) / D`` times the
            identity, as a queue shorter than ``D`` does not span the space.

    Returns:
        Tensor: Of unit norm again, ``(N, D)``. Whitening is up to a rotation
        that is common to all embeddings of the same queue, and that no
        cosine depends on.
    """
    if kind == 'none':
        return embeddings
    mean = bank.mean(0)
    embeddings = embeddings - mean
    if kind == 'whiten':
        embeddings = torch.linalg.solve_triangular(
            _whitening_factor(bank - mean), embeddings.T, upper=False
        ).T
    return F.normalize(embeddings, dim=-1)


def _whitening_factor(centered: Tensor) -> Tensor:
    """Lower triangular root of the shrunk covariance, ``(D, D)``."""
    covariance = centered.T @ centered / len(centered)
    # The floor serves a queue whose entries are all equal.
    variance = covariance.diagonal().mean().clamp(min=1e-12)
    covariance = (1 - SHRINKAGE) * covariance
    covariance.diagonal().add_(SHRINKAGE * variance)
    # Without the check the host need not wait for the device.
    return torch.linalg.cholesky_ex(covariance)[0]
