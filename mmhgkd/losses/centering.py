import torch
import torch.nn.functional as F
from torch import Tensor

from mmhgkd.teachers.target_norm import shrink

CENTERS = ('none', 'mean', 'whiten')


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
        centered = bank - mean
        # Without the check the host need not wait for the device.
        root = torch.linalg.cholesky_ex(
            shrink(centered.T @ centered / len(bank))
        )[0]
        embeddings = torch.linalg.solve_triangular(
            root, embeddings.T, upper=False
        ).T
    return F.normalize(embeddings, dim=-1)
