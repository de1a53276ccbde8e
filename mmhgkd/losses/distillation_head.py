from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.sparse import SparseFeature
from mmhgkd.utils import ConfigError


@MODELS.register_module()
class DistillationHead(BaseModule):
    """The losses of a distillation; each can be left out.

    ``L_feat`` compares the decoder's tokens with the teacher's, ``L_sim``
    their similarities to a memory queue (both of H-GKD, arXiv 2309.09571),
    and ``L_direct`` stages of the encoder with the teacher's tokens.

    Args:
        feature_loss (dict, optional): Config of ``L_feat``, a
            :class:`FeatureImitationLoss`. Defaults to None.
        similarity_loss (dict, optional): Config of ``L_sim``, a
            :class:`SimilarityDistributionLoss`. Defaults to None.
        embedding (dict, optional): Config of the student's embedding, needed
            by ``L_sim``. Defaults to None.
        queue (dict, optional): Config of the memory queue, needed by
            ``L_sim``. Defaults to None.
        direct_loss (dict, optional): Config of ``L_direct``, a
            :class:`DirectImitationLoss`. Defaults to None.

    Raises:
        ConfigError: If all losses are left out, or ``L_sim`` lacks a part.
    """

    def __init__(
        self,
        feature_loss: dict | None = None,
        similarity_loss: dict | None = None,
        embedding: dict | None = None,
        queue: dict | None = None,
        direct_loss: dict | None = None,
    ) -> None:
        super().__init__()
        parts = dict(
            feature_loss=feature_loss,
            similarity_loss=similarity_loss,
            embedding=embedding,
            queue=queue,
            direct_loss=direct_loss,
        )
        for name, part in parts.items():
            _check_kind(name, part)
        if not (feature_loss or similarity_loss or direct_loss):
            raise ConfigError(
                'set `head.feature_loss`, `head.similarity_loss`, '
                '`head.direct_loss` or several; without a loss nothing is '
                'learned'
            )
        if similarity_loss and not (embedding and queue):
            raise ConfigError(
                '`head.similarity_loss` compares embeddings with a queue: '
                'set `head.embedding` and `head.queue`'
            )
        self.feature_loss = self.similarity_loss = self.direct_loss = None
        if feature_loss:
            self.feature_loss = MODELS.build(feature_loss)
            if not hasattr(self.feature_loss, 'region'):
                raise ConfigError(
                    f'`head.feature_loss` {feature_loss["type"]} does not '
                    'compare tokens; set its `type` to '
                    "'mmhgkd.FeatureImitationLoss'"
                )
        if direct_loss:
            self.direct_loss = MODELS.build(direct_loss)
        if similarity_loss:
            self.similarity_loss = MODELS.build(similarity_loss)
            self.embedding = MODELS.build(embedding)
            self.queue = MODELS.build(queue)
        losses = self.feature_loss, self.similarity_loss, self.direct_loss
        if not any(getattr(loss, 'loss_weight', loss) for loss in losses):
            raise ConfigError(
                'all losses have a `loss_weight` of 0, so that nothing is '
                'learned; raise one'
            )

    @property
    def reads_decoder(self) -> bool:
        """Whether a loss needs the decoder's tokens."""
        return self.feature_loss is not None or (
            self.similarity_loss is not None
            and self.embedding.source != 'encoder'
        )

    @property
    def reads_last_stage(self) -> bool:
        """Whether a loss reaches the last stage without the decoder."""
        return (
            self.similarity_loss is not None
            and self.embedding.source == 'encoder'
        ) or (self.direct_loss is not None and -1 in self.direct_loss.stages)

    @property
    def widths(self) -> dict[str, int]:
        """Options of the parts that must equal the teacher's width."""
        widths = {}
        if self.similarity_loss is not None:
            widths['head.embedding.out_channels'] = self.embedding.out_channels
            widths['head.queue.embed_dims'] = self.queue.embed_dims
        if self.direct_loss is not None:
            widths['head.direct_loss.out_channels'] = (
                self.direct_loss.out_channels
            )
        return widths

    def loss(
        self,
        tokens: Tensor | None,
        features: Sequence[SparseFeature],
        target: Tensor,
        visible: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the losses and what the log shows beside them.

        Args:
            tokens (Tensor, optional): Decoded tokens of the student,
                ``(B, L, D)``; None where no loss reads them.
            features (Sequence[SparseFeature]): Of the backbone's stages.
            target (Tensor): Tokens of the teacher, ``(B, L, D)``, zero where
                it has none.
            visible (Tensor): Tokens that the student saw, ``(B, L)`` bool.

        Returns:
            dict[str, Tensor]: ``loss_feat``, ``loss_direct`` and
            ``loss_sim`` as far as they are switched on; with the last
            ``embedding_cosine``, the mean cosine of the two embeddings of an
            image, and ``pearson`` and ``self_variance_share`` of
            :class:`SimilarityDistributionLoss`.
        """
        losses = {}
        if self.feature_loss is not None:
            losses['loss_feat'] = self.feature_loss(tokens, target, visible)
        if self.direct_loss is not None:
            losses['loss_direct'] = self.direct_loss(features, target)
        if self.similarity_loss is None:
            return losses
        student = self.embedding(tokens, features)
        if self.embedding.source == 'tokens':
            teacher, keys = token_embeddings(target)
        else:
            teacher = keys = teacher_embedding(target)
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


def _check_kind(name: str, part: Any) -> None:
    if part and not (isinstance(part, Mapping) and part.get('type')):
        raise ConfigError(
            f'`head.{name}` must be a part, dict(type=...), or None, got '
            f'{part!r}'
        )


def teacher_embedding(tokens: Tensor) -> Tensor:
    """Mean patch token of each image, of unit norm.

    Args:
        tokens (Tensor): ``(B, L, D)``, zero where the teacher has none.

    Returns:
        Tensor: fp32 at least, ``(B, D)``.
    """
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
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
