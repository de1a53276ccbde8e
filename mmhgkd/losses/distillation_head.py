from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.sparse import SparseFeature
from mmhgkd.utils import ConfigError


@MODELS.register_module()
class DistillationHead(BaseModule):
    """The losses of H-GKD, ``L = L_feat + L_sim``.

    Args:
        feature_loss (dict, optional): Config of ``L_feat``. Defaults to None,
            which leaves it out.
        similarity_loss (dict, optional): Config of ``L_sim``. Defaults to
            None, which leaves it out.
        embedding (dict, optional): Config of the student's embedding, needed
            by ``L_sim``. Defaults to None.
        queue (dict, optional): Config of the memory queue, needed by
            ``L_sim``. Defaults to None.

    Raises:
        ConfigError: If both losses are left out, or ``L_sim`` lacks a part.
    """

    def __init__(
        self,
        feature_loss: dict | None = None,
        similarity_loss: dict | None = None,
        embedding: dict | None = None,
        queue: dict | None = None,
    ) -> None:
        super().__init__()
        if feature_loss is None and similarity_loss is None:
            raise ConfigError(
                'set `head.feature_loss`, `head.similarity_loss` or both; '
                'without a loss nothing is learned'
            )
        if similarity_loss and not (embedding and queue):
            raise ConfigError(
                '`head.similarity_loss` compares embeddings with a queue: '
                'set `head.embedding` and `head.queue`'
            )
        self.feature_loss = self.similarity_loss = None
        if feature_loss:
            self.feature_loss = MODELS.build(feature_loss)
        if similarity_loss:
            self.similarity_loss = MODELS.build(similarity_loss)
            self.embedding = MODELS.build(embedding)
            self.queue = MODELS.build(queue)

    def loss(
        self,
        tokens: Tensor,
        features: Sequence[SparseFeature],
        target: Tensor,
        visible: Tensor,
        target_visible: bool = False,
    ) -> dict[str, Tensor]:
        """Compute the losses and what the log shows beside them.

        Args:
            tokens (Tensor): Decoded tokens of the student, ``(B, L, D)``.
            features (Sequence[SparseFeature]): Of the backbone's stages.
            target (Tensor): Tokens of the teacher, ``(B, L, D)``.
            visible (Tensor): Tokens that the student saw, ``(B, L)`` bool.
            target_visible (bool): Whether the teacher saw only those, too.
                Defaults to False.

        Returns:
            dict[str, Tensor]: ``loss_feat`` and ``loss_sim`` as far as they
            are switched on; ``embedding_cosine``, the mean cosine of the two
            embeddings of an image; ``pearson`` and ``self_variance_share`` of
            :class:`SimilarityDistributionLoss`.
        """
        losses = {}
        if self.feature_loss is not None:
            losses['loss_feat'] = self.feature_loss(tokens, target, visible)
        if self.similarity_loss is None:
            return losses
        student = self.embedding(tokens, features)
        if self.embedding.source == 'tokens':
            teacher, keys = token_embeddings(target)
        else:
            teacher = keys = teacher_embedding(
                target, visible if target_visible else None
            )
        bank = self.queue()
        if len(bank):
            losses['loss_sim'], logs = self.similarity_loss(
                student, teacher, bank
            )
            losses.update(logs)
        else:
            # A queue without entries has no distribution to compare, but
            # every parameter must take part in distributed training.
            losses['loss_sim'] = student.sum() * 0
        losses['embedding_cosine'] = (
            (student.detach() * teacher).sum(-1).mean()
        )
        self.queue.enqueue(keys)
        return losses


def teacher_embedding(tokens: Tensor, visible: Tensor | None = None) -> Tensor:
    """Mean patch token of each image, of unit norm.

    Args:
        tokens (Tensor): ``(B, L, D)``.
        visible (Tensor, optional): Tokens to average, ``(B, L)`` bool.
            Defaults to None, which means all.

    Returns:
        Tensor: fp32 at least, ``(B, D)``.
    """
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    if visible is not None:
        tokens = tokens * visible[..., None]
    # The norm takes away what a sum differs from a mean by.
    return F.normalize(tokens.sum(1), dim=-1)


def token_embeddings(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Patch tokens as embeddings, and those of them that enter the queue.

    Each image brings one key, or a queue of a few thousand would hold no more
    than the last images. The places are spread evenly over the grid.

    Args:
        tokens (Tensor): ``(B, L, D)``.

    Returns:
        tuple[Tensor, Tensor]: Of unit norm, fp32 at least, ``(B * L, D)`` and
        ``(B, D)``.
    """
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    embeddings = F.normalize(tokens.to(dtype), dim=-1)
    batch, length = tokens.shape[:2]
    images = torch.arange(batch, device=tokens.device)
    keys = embeddings[images, images * length // batch]
    return embeddings.flatten(0, 1), keys
