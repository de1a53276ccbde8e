from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmhgkd.registry import MODELS
from mmhgkd.sparse import SparseFeature
from mmhgkd.utils import ConfigError, one_of

SOURCES = ('decoder', 'encoder', 'tokens')
PROJECTORS = ('none', 'linear', 'mlp')


@MODELS.register_module()
class StudentEmbedding(BaseModule):
    """One embedding an image for ``L_sim``, in the teacher's space.

    Args:
        source (str): 'decoder' averages the decoded tokens; 'encoder'
            averages the visible positions of the last stage, which gives
            ``L_sim`` a direct path into the backbone; 'tokens' keeps every
            decoded token, to be compared with a queue of tokens, for small
            queues: the similarities are ``B * L`` by ``K``.
            Defaults to 'decoder'.
        projector (str): 'none', 'linear' or 'mlp' (one hidden layer as wide
            as its input). Defaults to 'none'.
        in_channels (int): Channels of the source. Defaults to 768.
        out_channels (int): Width of the teacher's tokens, ``D``.
            Defaults to 768.

    Raises:
        ConfigError: If an option is unknown or the widths do not fit.
    """

    def __init__(
        self,
        source: str = 'decoder',
        projector: str = 'none',
        in_channels: int = 768,
        out_channels: int = 768,
    ) -> None:
        super().__init__(dict(type='TruncNormal', layer='Linear', std=0.02))
        one_of('embedding `source`', source, SOURCES)
        one_of('embedding `projector`', projector, PROJECTORS)
        if projector == 'none' and in_channels != out_channels:
            raise ConfigError(
                f'an embedding of {in_channels} channels cannot be compared '
                f"with the teacher's {out_channels}; set embedding "
                "`projector='linear'` or 'mlp'"
            )
        self.source = source
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.projector: nn.Module = nn.Identity()
        if projector == 'linear':
            self.projector = nn.Linear(in_channels, out_channels)
        elif projector == 'mlp':
            self.projector = nn.Sequential(
                nn.Linear(in_channels, in_channels),
                nn.GELU(),
                nn.Linear(in_channels, out_channels),
            )

    def forward(
        self, tokens: Tensor | None, features: Sequence[SparseFeature]
    ) -> Tensor:
        """Embed a batch.

        Args:
            tokens (Tensor, optional): Decoded tokens, ``(B, L, D)``; None
                where the source is 'encoder'.
            features (Sequence[SparseFeature]): Of the backbone's stages.

        Returns:
            Tensor: Of unit norm, fp32 at least, ``(B, D)``, or
            ``(B * L, D)`` of the source 'tokens'.

        Raises:
            ConfigError: If the source has not ``in_channels`` channels.
        """
        if tokens is None or self.source == 'encoder':
            pooled = features[-1].image_mean()
        elif self.source == 'decoder':
            pooled = tokens.mean(1)
        else:
            pooled = tokens.flatten(0, 1)
        if pooled.size(1) != self.in_channels:
            raise ConfigError(
                f'the embedding of the source {self.source!r} has '
                f'{pooled.size(1)} channels, not {self.in_channels}; set '
                f'`head.embedding.in_channels={pooled.size(1)}`'
            )
        embedding = self.projector(pooled)
        if embedding.dtype.itemsize < 4:
            embedding = embedding.float()
        return F.normalize(embedding, dim=-1)
