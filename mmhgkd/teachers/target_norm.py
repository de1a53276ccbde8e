"""Normalizations of the teacher's tokens, which make them a target."""

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from torch import Tensor

from mmhgkd.sparse.batch_norm import sum_over_ranks

TARGET_NORMS = ('layer_norm', 'batch_norm', 'phi_s', 'whiten', 'l2', 'none')
# Share of the covariance that gives way to a multiple of the identity.
SHRINKAGE = 0.1
EPS = 1e-6


def normalize_target(
    tokens: Tensor, kind: str, group_size: int = 16
) -> Tensor:
    """Normalize the tokens of one layer.

    Args:
        tokens (Tensor): Of this rank, ``(B, L, D)``.
        kind (str): One of ``TARGET_NORMS``, see :class:`BaseTeacher`.
        group_size (int): Of 'whiten', see :func:`whiten`. Defaults to 16.

    Returns:
        Tensor: ``(B, L, D)``; fp32 at least where the statistics are those
        of several images.
    """
    if kind == 'layer_norm':
        return F.layer_norm(tokens, tokens.shape[-1:], eps=EPS)
    if kind == 'l2':
        return F.normalize(tokens, dim=-1)
    if kind == 'none':
        return tokens
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    if kind == 'whiten':
        return whiten(tokens, group_size)
    tokens = tokens - _mean_over_ranks(tokens.mean((0, 1)))
    variance = _mean_over_ranks(tokens.square().mean((0, 1)))
    if kind == 'phi_s':
        variance = variance.mean()
    return tokens * (variance + EPS).rsqrt()


def whiten(tokens: Tensor, group_size: int) -> Tensor:
    """Make all directions equally strong among the tokens of some images.

    Each channel is standardized, then the correlation is whitened (ZCA-cor of
    `Optimal Whitening and Decorrelation <https://arxiv.org/abs/1512.00809>`_),
    so that what a channel means stays what it was. The statistics are those
    of a group of images, not of the data: what is left is how the images of
    the group and their parts differ.

    Args:
        tokens (Tensor): ``(B, L, D)``.
        group_size (int): Images of a group; more where the groups would not
            be of one size.

    Returns:
        Tensor: ``(B, L, D)``, of mean zero.
    """
    batch, _, channels = tokens.shape
    groups = next(
        number
        for number in range(max(batch // group_size, 1), 0, -1)
        if batch % number == 0
    )
    rows = tokens.reshape(groups, -1, channels)
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows * (rows.square().mean(1, keepdim=True) + EPS).rsqrt()
    # Autocast would take half precision for the products.
    with torch.autocast(tokens.device.type, enabled=False):
        correlation = shrink(rows.mT @ rows / rows.size(1))
        white = rows @ inverse_root(correlation)
    return white.reshape(tokens.shape)


def inverse_root(matrix: Tensor) -> Tensor:
    """Inverse square root of what :func:`shrink` returns.

    An eigendecomposition lets the host wait for the GPU, and keeps what it is
    a part of out of CUDA graphs; there an iteration of products serves.

    Args:
        matrix (Tensor): ``(..., D, D)``.

    Returns:
        Tensor: Symmetric, ``(..., D, D)``.
    """
    if matrix.is_cuda:
        return _newton_schulz(matrix)
    variances, axes = torch.linalg.eigh(matrix)
    return axes * variances.rsqrt()[..., None, :] @ axes.mT


def _newton_schulz(matrix: Tensor) -> Tensor:
    """The coupled iteration of Higham, Functions of Matrices, eq. 6.35.

    The eigenvalues of ``inverse @ root`` go to one. The smallest is known
    beforehand, as the share of the identity in the trace, and with it the
    number of steps.
    """
    channels = matrix.size(-1)
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    root = matrix / trace
    inverse = torch.eye(channels, dtype=matrix.dtype, device=matrix.device)
    identity = 1.5 * inverse
    smallest = SHRINKAGE / channels
    while True:
        factor = identity - 0.5 * (inverse @ root)
        inverse = factor @ inverse
        if 1 - smallest < torch.finfo(matrix.dtype).eps:
            return inverse * trace.rsqrt()
        root = root @ factor
        smallest *= (1.5 - 0.5 * smallest) ** 2


def shrink(covariance: Tensor) -> Tensor:
    """Replace a share of 0.1 by the mean variance times the identity.

    Args:
        covariance (Tensor): ``(..., D, D)``; it may be of low rank.

    Returns:
        Tensor: Positive definite, ``(..., D, D)``.
    """
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    # The floor serves embeddings that are all equal.
    variance = diagonal.mean(-1, keepdim=True).clamp(min=1e-12)
    covariance = (1 - SHRINKAGE) * covariance
    covariance.diagonal(dim1=-2, dim2=-1).add_(SHRINKAGE * variance)
    return covariance


def _mean_over_ranks(values: Tensor) -> Tensor:
    world_size = get_world_size()
    if world_size == 1:
        return values
    return sum_over_ranks(values) / world_size
