import torch
from torch import Tensor, nn

from mmhgkd.masks import UnitMask
from mmhgkd.sparse import MaskedFeature, SparseFeature

from .backends import BACKENDS, check_backend
from .distributed_norms import synchronize_norms
from .sparse_graph import SparseGraph


class SparseNetwork(nn.Module):
    """Lets a dense network see only the visible units of a masked image.

    It is put in front of the class of a dense network, whose layers and
    state dict it leaves as they are. With a mask every layer is run in its
    sparse form: an output exists where the downsampled mask is visible, and
    statistics are those of the visible positions.

    Attributes:
        backend (str): How sparse features are held and computed.
        feature_channels (tuple[int]): Channels of the features, for the
            ``in_channels`` of a decoder.
        feature_strides (tuple[int]): Pixels between two of their positions.
    """

    def make_sparse(self, backend: str) -> None:
        """Prepare the sparse form; call it when all layers exist.

        Args:
            backend (str): Name of a backend, see :class:`SparseResNet`.

        Raises:
            ConfigError: If the backend is unknown or its package is missing,
                or a layer has no sparse form.
        """
        check_backend(backend, self)
        self.backend = backend
        self.channels_last = not _harmed_by_channels_last(self)
        self._record()
        synchronize_norms(self, nn.SyncBatchNorm)

    def dense_forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Forward of the dense network."""
        return super().forward(x)

    def sparse_forward(
        self, feature: SparseFeature
    ) -> tuple[SparseFeature, ...]:
        """Forward of the sparse network, from the visible pixels."""
        return self.sparse_graph.run(self, feature)

    def forward(
        self, x: Tensor, mask: UnitMask | None = None
    ) -> tuple[Tensor, ...] | tuple[SparseFeature, ...]:
        """Compute the feature maps of the chosen stages.

        Args:
            x (Tensor): Images, ``(B, 3, H, W)``.
            mask (UnitMask, optional): Visible units. Defaults to None, which
                means the dense network.

        Returns:
            tuple[Tensor] or tuple[SparseFeature]: One item a stage, dense
            without a mask, sparse with one.
        """
        if mask is not None and mask.num_visible < mask.num_units:
            return self.sparse_forward(
                BACKENDS[self.backend].from_images(x, mask)
            )
        if mask is not None and x.is_cpu and self.channels_last:
            # A CPU is faster in this layout. On GPUs it is not measured, and
            # there DistributedDataParallel wants gradients laid out as the
            # weights are.
            x = x.contiguous(memory_format=torch.channels_last)
        if mask is not None:
            # There is nothing that a table could skip.
            return self.whole_forward(x, mask)
        return self._maps(x)

    def whole_forward(
        self, x: Tensor, mask: UnitMask
    ) -> tuple[SparseFeature, ...]:
        """Forward of the dense network, where a mask hides nothing."""
        return tuple(
            MaskedFeature(values, mask, x.size(2) // values.size(2))
            for values in self._maps(x)
        )

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.dense_forward(x)
        maps = maps.values() if isinstance(maps, dict) else maps
        return (maps,) if isinstance(maps, Tensor) else tuple(maps)

    def _record(self) -> None:
        self.sparse_graph = SparseGraph(self, 'dense_forward')
        self.feature_channels = self.sparse_graph.channels
        self.feature_strides = self.sparse_graph.strides


def _harmed_by_channels_last(network: nn.Module) -> bool:
    """Whether oneDNN#6035 would spoil the gradients of a layer.

    In this layout the gradient of a strided 1x1 convolution of fewer than 16
    channels (with AVX-512; else 8) is written past its memory.
    """
    return any(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.in_channels // layer.groups < 16
        for layer in network.modules()
    )
