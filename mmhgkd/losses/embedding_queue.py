from typing import Any

import torch
from mmengine.dist import all_gather
from mmengine.model import BaseModule
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.value_checks import is_count


@MODELS.register_module()
class EmbeddingQueue(BaseModule):
    """First-in, first-out memory of teacher embeddings.

    The queue is a buffer, so it is in the checkpoint. Until it has been
    filled once it is as long as the number of embeddings it has received:
    random fillers would be neighbors of nobody. All ranks hold the same
    queue.

    Args:
        size (int): Number of embeddings, ``K``. A queue longer than about a
            quarter of a small data set holds stale views of the very images
            it is compared with. Defaults to 65536.
        embed_dims (int): Width of an embedding, ``D``. Defaults to 768.

    Raises:
        ConfigError: If ``size`` or ``embed_dims`` is not positive.
    """

    embeddings: Tensor
    received: Tensor

    def __init__(self, size: int = 65536, embed_dims: int = 768) -> None:
        super().__init__()
        for name, value in (('size', size), ('embed_dims', embed_dims)):
            if not is_count(value, 1):
                raise ConfigError(
                    f'queue `{name}` must be a positive whole number, got '
                    f'{value!r}'
                )
        self.size = size
        self.embed_dims = embed_dims
        self.register_buffer('embeddings', torch.zeros(size, embed_dims))
        self.register_buffer('received', torch.zeros((), dtype=torch.long))
        self._count: int | None = 0

    def forward(self) -> Tensor:
        """Embeddings received so far, ``(min(K, received), D)``.

        A copy: the backward pass reads it after :meth:`enqueue` has
        overwritten the oldest entries.
        """
        return self.embeddings[: min(self._received(), self.size)].clone()

    @torch.no_grad()
    def enqueue(self, embeddings: Tensor) -> None:
        """Append the embeddings of all ranks, in rank order.

        Args:
            embeddings (Tensor): Of this rank, ``(B, D)``.
        """
        count = self._received()
        gathered = torch.cat(all_gather(embeddings.detach().contiguous()))
        newest = gathered[-self.size :].to(self.embeddings.dtype)
        first = count + len(gathered) - len(newest)
        places = torch.arange(len(newest), device=newest.device) + first
        self.embeddings.index_copy_(0, places % self.size, newest)
        self.received += len(gathered)
        self._count = count + len(gathered)

    def _received(self) -> int:
        # A mirror of the buffer on the host: reading the buffer would make
        # the host wait for the device at every step.
        if self._count is None:
            self._count = int(self.received)
        return self._count

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        received = self.received.clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        embeddings = state_dict.get(f'{prefix}embeddings')
        if (
            embeddings is None
            or embeddings.shape != self.embeddings.shape
            or f'{prefix}received' not in state_dict
        ):
            # Those of another queue are not loaded, so none is received.
            self.received.copy_(received)
        self._count = None
